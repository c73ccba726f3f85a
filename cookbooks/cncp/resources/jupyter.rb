unified_mode true

provides :cncp_jupyter

description 'JupyterLab beside the controller as a service: its files, and that it runs with them. ' \
            'Where the setting jupyter is false, that it does not.'

CncpCookbook::Properties.declare(self)

property :digests, Hash,
         description: 'What is to run, with the digest of all it depends on; cncp says which.'

# What runs is known once cncp has been asked, which the action does.
load_current_value { digests({}) }

action_class { include CncpCookbook::Actions }

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  next unless cncp_there?

  changed = [cncp_install('jupyter'), cncp_remove].any?
  cncp_serve('jupyter', changed)
end
