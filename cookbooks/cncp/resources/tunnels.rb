unified_mode true

provides :cncp_tunnels

description 'ssh as services, for engines behind a firewall: their files, and that they run with them. ' \
            'Which there are is said by the machine in charge of the cluster; on a machine by itself there are none.'

use 'partial/_cluster'
use 'partial/_service'
