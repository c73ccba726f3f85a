"""What the controller's machine offers those who join: its connection file for engines, and where it is."""

from __future__ import annotations

import ipaddress
import platform
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil

from cncp.config.settings import LOOPBACK
from cncp.errors import CncpError, UsageError
from cncp.ipp.connection_file import MemberFile
from cncp.machine import connection_files
from cncp.machine.node import Node
from cncp.rendezvous import owner
from cncp.rendezvous.documents import Cluster
from cncp.rendezvous.owner import Record
from cncp.rendezvous.places import opened
from cncp.rendezvous.store import Store
from cncp.rendezvous.stores.served import ServedStore

_OF_CLUSTER = ("encryption", "heartbeat", "tolerance")
"""Settings of this machine that those who join must have as well."""


def insist(node: Node) -> None:
    """Raise UsageError where nobody else could reach this machine's controller."""
    if not node.controller:
        raise UsageError("this machine has no controller", "invite where the controller is")
    if node.settings.listen == LOOPBACK:
        raise UsageError(
            "the controller listens on loopback, where no other machine reaches it",
            "have it listen for others: cncp up --listen all",
        )


def offer(node: Node) -> Cluster:
    """Return what joins and leases say of this machine's cluster. Raises CncpError."""
    stored = connection_files.engine(node)
    if stored is None:
        raise CncpError(f"the engines' connection file is not in {node.security_dir}", "make it: cncp up")
    places = addresses(node)
    named = {**stored.to_json(), "names": [place for place in places if place != stored.location]}
    engine = MemberFile.from_json(named, "the engines' connection file", "make it again: cncp up")
    return Cluster(
        profile=node.settings.profile,
        engine=engine.to_json(),
        addresses=tuple(places),
        settings={name: getattr(node.settings, name) for name in _OF_CLUSTER},
        ipyparallel=version("ipyparallel"),
        python=".".join(platform.python_version_tuple()[:2]),
        fingerprint=engine.fingerprint,
    )


def addresses(node: Node) -> list[str]:
    """Return where this machine's controller can be dialled, the likeliest first."""
    listen, external = node.settings.listen, node.settings.external
    own = [listen] if listen != "0.0.0.0" else list(_own())
    named = [] if external == "auto" else [external]
    return list(dict.fromkeys((*named, *own, node.location)))


def _own() -> Iterator[str]:
    """Yield the IPv4 addresses of this machine that are not loopback, that of the default route first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent; the kernel says from where it would be. A documentation address: RFC 5737.
            probe.connect(("192.0.2.1", 9))
            yield str(probe.getsockname()[0])
        except OSError:
            pass
    for found in psutil.net_if_addrs().values():
        for card in found:
            if card.family == socket.AF_INET and not ipaddress.ip_address(card.address).is_loopback:
                yield card.address


def store(home: Path, record: Record) -> Store:
    """Return the store of a record: that of its URL, or what this machine serves. Raises CncpError."""
    place = record.place
    if place.store:
        return opened(place.store, place.options)
    return ServedStore(owner.folder(home), place.address, place.port, record.lease_key)
