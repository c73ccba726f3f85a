unified_mode true

provides :cncp_controller

description 'The controller (ipcontroller) of a cluster as a service: its files, and that it runs with them.'

CncpCookbook::Service.declare(self)

action_class { include CncpCookbook::Actions }

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  cncp_start('controller')
end
