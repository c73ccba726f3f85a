unified_mode true

provides :cncp_engines

description 'The engines (ipengine) of this machine as services: their files, that they run with them, and that they answer.'

CncpCookbook::Service.declare(self)

property :timeout, Integer, desired_state: false,
         default: lazy { |given| given.node['cncp']['timeout'] },
         description: 'Seconds that engines have to answer after something was started; 0: do not wait.'

action_class { include CncpCookbook::Actions }

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  started = cncp_start('engine')
  cncp('wait', new_resource.timeout.to_s, timeout: new_resource.timeout + 60) if started && new_resource.timeout > 0
end
