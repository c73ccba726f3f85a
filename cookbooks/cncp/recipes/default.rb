# One machine that is a whole cluster.
include_recipe 'cncp::compute'
