unified_mode true

provides :cncp_engines

description 'The engines (ipengine) of this machine as services: their files, that they run with them, and that they answer.'

use 'partial/_cluster'
use 'partial/_service'

property :timeout, Integer, desired_state: false,
         default: lazy { |given| CncpCookbook.seconds(given.node['cncp']['timeout']) },
         coerce: proc { |given| CncpCookbook.seconds(given) },
         callbacks: { 'must be 0 or more' => ->(given) { given >= 0 } },
         description: 'Seconds that engines have to answer after something was started; 0: do not wait.'

# That of the partial, which then waits.
action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  # Read before anything is done: one that makes no sense changes nothing.
  seconds = new_resource.timeout
  started = cncp_start
  cncp('wait', seconds.to_s, timeout: seconds + 60) if started && seconds > 0
end
