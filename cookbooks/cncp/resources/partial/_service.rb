# What resources share that run services; their kind is what the resource is called after.
property :digests, Hash,
         description: 'What is to run, with the digest of all it depends on; cncp says which.'

# What runs is known once cncp has been asked, which the action does.
load_current_value { digests({}) }

default_action :start

action :start do
  description 'Install what is missing, and start or restart what does not run as it is to.'

  cncp_start
end

action :stop do
  description 'Stop what runs, until it is started again or the machine is.'

  cncp_stop
end

action :restart do
  description 'Stop what runs, and start it again as it is to run.'

  cncp_restart
end
