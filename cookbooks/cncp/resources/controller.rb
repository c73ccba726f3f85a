unified_mode true

provides :cncp_controller

description 'The controller (ipcontroller) of a cluster as a service: its files, and that it runs with them.'

use 'partial/_cluster'
use 'partial/_service'

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  cncp_start
end
