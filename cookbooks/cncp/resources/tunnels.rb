unified_mode true

provides :cncp_tunnels

description 'ssh as services, for engines behind a firewall: their files, and that they run with them. ' \
            'Which there are is said by the machine in charge of the cluster; on a machine by itself there are none.'

CncpCookbook::Properties.declare(self)

property :digests, Hash,
         description: 'What is to run, with the digest of all it depends on; cncp says which.'

# What runs is known once cncp has been asked, which the action does.
load_current_value { digests({}) }

action_class { include CncpCookbook::Actions }

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  next unless cncp_there?

  changed = [cncp_install('tunnel'), cncp_remove].any?
  cncp_serve('tunnel', changed)
end
