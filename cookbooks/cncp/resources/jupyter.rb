unified_mode true

provides :cncp_jupyter

description 'JupyterLab beside the controller as a service: its files, and that it runs with them. ' \
            'Where the setting jupyter is false, that it does not.'

CncpCookbook::Service.declare(self)

action_class { include CncpCookbook::Actions }

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  cncp_start('jupyter')
end
