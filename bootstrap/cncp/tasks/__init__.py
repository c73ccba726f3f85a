"""The Invoke collections: flags and wiring only."""

from invoke.collection import Collection

from cncp.tasks import cluster

ns = Collection.from_module(cluster)
