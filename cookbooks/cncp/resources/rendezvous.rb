unified_mode true

provides :cncp_rendezvous

description 'The service by which machines join this cluster by themselves, or by which this one has joined: its ' \
            'files, and that it runs with them. Where nobody was invited, that there is none.'

use 'partial/_cluster'
use 'partial/_service'
