"""A cluster to invite to, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cncp.ipp import keys
from cncp.rendezvous.documents import Cluster

IPYPARALLEL = "9.2.0"
NOW = 1_790_000_000.0
IDENTITY = keys.Identity.new("k" * 64, (b"p" * 40, b"s" * 40), tuple(range(20000, 20018)))
_FILE = keys.connection_files(IDENTITY, listen="0.0.0.0", location="gold1", encryption=True)[1]
ENGINE: dict[str, Any] = _FILE.to_json()

OFFER = Cluster(
    profile="cncp",
    engine=ENGINE,
    addresses=("10.1.2.3",),
    settings={"encryption": True, "engines": "cores"},
    ipyparallel=IPYPARALLEL,
    python="3.11",
    fingerprint=_FILE.fingerprint,
)


def rotated(offer: Cluster = OFFER) -> Cluster:
    """Return it with other keys."""
    engine = replace(_FILE, key="n" * 64)
    return replace(offer, engine=engine.to_json(), fingerprint=engine.fingerprint)
