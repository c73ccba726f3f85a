# Properties of every resource. Left out, they follow from node['cncp'].
property :settings, Hash, desired_state: false,
         default: lazy { |given| CncpCookbook.settings(given.node['cncp']) },
         coerce: proc { |given| CncpCookbook.check(given) },
         description: 'Settings of the cluster, as in cluster.toml; those left out have their defaults.'
property :user, String, desired_state: false,
         default: lazy { |given| CncpCookbook.account(given.node['cncp']['user']).name },
         description: 'The account that the cluster runs as and that owns its files.'
property :home, String, desired_state: false,
         default: lazy { |given| CncpCookbook.home(given.node['cncp']['home'], CncpCookbook.account(given.user)) },
         description: 'The folder of the virtualenv and all state.'

action_class { include CncpCookbook::Actions }
