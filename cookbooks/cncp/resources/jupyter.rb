unified_mode true

provides :cncp_jupyter

description 'JupyterLab beside the controller as a service: its files, and that it runs with them. ' \
            'Where the setting jupyter is false, that it does not.'

use 'partial/_cluster'
use 'partial/_service'
