"""A cluster to invite to, for tests."""

from __future__ import annotations

from dataclasses import replace

from cncp.ipp import connection_file, keys
from cncp.rendezvous.documents import Cluster

IPYPARALLEL = "9.2.0"
NOW = 1_790_000_000.0
IDENTITY = keys.Identity("k" * 64, "p" * 40, "s" * 40, tuple(range(20000, 20018)))
ENGINE = keys.connection_files(IDENTITY, listen="0.0.0.0", location="gold1", encryption=True)[
    "ipcontroller-engine.json"
]

OFFER = Cluster(
    profile="cncp",
    engine=ENGINE,
    addresses=("10.1.2.3",),
    settings={"encryption": True, "engines": "cores"},
    ipyparallel=IPYPARALLEL,
    python="3.11",
    fingerprint=connection_file.fingerprint(ENGINE),
)


def rotated(offer: Cluster = OFFER) -> Cluster:
    """Return it with other keys."""
    engine = {**offer.engine, "key": "n" * 64}
    return replace(offer, engine=engine, fingerprint=connection_file.fingerprint(engine))
