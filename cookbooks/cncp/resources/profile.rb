unified_mode true

provides :cncp_profile

description 'The IPython profile of a cluster and what its services share: folders, configuration, keys, ports ' \
            'and connection files. Keys are made once, and no secret passes through Chef.'

use 'partial/_cluster'

action :create do
  description 'Make the profile, and stop services that are no longer wanted.'

  next unless cncp_there?

  # The step looks for itself and is quick; what it says it has done is what Chef reports.
  patience = 120 + CncpCookbook.busy(node['cncp'])['wait']
  changed = cncp('prepare', *('--dry-run' if whyrun_mode?), timeout: patience)['changed']
  converge_by(changed) {} unless changed.empty?
  cncp_install('home', 'profile', 'units')
  cncp_remove('profile')
end
