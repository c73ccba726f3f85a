"""The Invoke collections: flags and wiring only."""

from invoke.collection import Collection

from cncp.tasks import attach, bundle, cluster, connect, dist, firewall, hosts, init, jupyter, keys, plan, profile, vm

ns = Collection.from_module(cluster)
ns.add_task(plan.plan)
ns.add_task(connect.connect)
ns.add_collection(Collection.from_module(bundle))
ns.add_collection(Collection.from_module(dist))
ns.add_collection(Collection.from_module(jupyter))
ns.add_collection(Collection.from_module(hosts))
ns.add_task(firewall.firewall)
ns.add_task(init.init)
ns.add_task(attach.attach)
ns.add_task(attach.console)
ns.add_collection(Collection.from_module(profile))
ns.add_collection(Collection.from_module(keys))
ns.add_collection(Collection.from_module(vm))
