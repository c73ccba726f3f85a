unified_mode true

provides :cncp_jupyter

description 'JupyterLab beside the controller as a service: its files, and that it runs with them. ' \
            'Where the setting jupyter is false, that it does not.'

use 'partial/_cluster'
use 'partial/_service'

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  cncp_start
end
