# The settings stand once, in files/defaults.json, for this cookbook and for cncp itself.
require 'json'

JSON.parse(File.read(File.expand_path('../files/defaults.json', __dir__))).each do |key, value|
  default['cncp'][key] = value
end

# What is no setting of the cluster. nil: found out.
default['cncp']['user'] = nil        # account the cluster runs as: who called sudo, else who runs Chef
default['cncp']['home'] = nil        # folder of the virtualenv and all state: ~/.local/share/cncp
default['cncp']['source'] = nil      # folder of bootstrap/, cookbooks/ and roles/: two above this cookbook
default['cncp']['python'] = nil      # Python to make the virtualenv with: python3
default['cncp']['offline'] = nil     # bundle to install from instead of any network
default['cncp']['packages'] = true    # whether root installs packages of the system that are lacking
default['cncp']['path'] = nil        # PATH in which tmux, screen and the like are looked for: that of this run
default['cncp']['engine_ids'] = nil  # numbers of the engines to keep, where some are to go
default['cncp']['machine'] = nil     # all choices, made: what `cncp up` hands over
default['cncp']['force'] = true       # whether tasks of engines that a change restarts are lost; false: the run fails
default['cncp']['wait'] = 0          # seconds that such engines have to be idle before that
default['cncp']['timeout'] = 60      # seconds that engines have to answer; 0: do not wait
