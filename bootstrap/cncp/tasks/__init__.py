"""The Invoke collections: flags and wiring only."""

from invoke.collection import Collection

from cncp.tasks import bundle, cluster, dist, jupyter

ns = Collection.from_module(cluster)
ns.add_collection(Collection.from_module(bundle))
ns.add_collection(Collection.from_module(dist))
ns.add_collection(Collection.from_module(jupyter))
