"""The Invoke collections: flags and wiring only."""

from invoke.collection import Collection

from cncp.tasks import bundle, cluster, connect, dist, keys

ns = Collection.from_module(cluster)
ns.add_task(connect.connect)
ns.add_collection(Collection.from_module(bundle))
ns.add_collection(Collection.from_module(dist))
ns.add_collection(Collection.from_module(keys))
