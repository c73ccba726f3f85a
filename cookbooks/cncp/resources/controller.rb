unified_mode true

provides :cncp_controller

description 'The controller (ipcontroller) of a cluster as a service: its files, and that it runs with them.'

use 'partial/_cluster'
use 'partial/_service'
