"""Which machine lets in the key of which tunnel: noted, so that no line of authorized_keys outlives its tunnel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from cncp.files import read_shape
from cncp.fleet import registry
from cncp.fleet.registry import Placed
from cncp.fleet.tunnel_setup import COMMENT
from cncp.ssh import authorized_keys
from cncp.ssh.connection import Host

_FILE = "gates.json"


@dataclass(frozen=True, order=True)
class Gate:
    """One line of authorized_keys: on ``machine``, for the tunnel of the host ``engines``, with its ``key``."""

    machine: str
    engines: str
    key: str


def load(home: Path) -> set[Gate]:
    """Return the gates that `up` has opened from here."""
    stored = read_shape(home / _FILE, {"gates": list[Gate]})
    return set(stored["gates"]) if stored else set()


def save(home: Path, gates: Collection[Gate]) -> None:
    """Keep the gates that are open."""
    registry.keep(home / _FILE, {"gates": [asdict(one) for one in sorted(gates)]} if gates else None)


def close(
    home: Path,
    stale: Iterable[Gate],
    places: Mapping[str, Placed],
    reach: Callable[[str], AbstractContextManager[Host | None]],
) -> set[Gate]:
    """Take the lines of gates out, and note it. Returns those whose machine ``reach`` does not get at.

    A home that several hosts share has one line for all of them, which stays as long as one needs it.
    Raises HostError.
    """
    unreached = set()
    for gate in sorted(stale):
        with reach(gate.machine) as host:
            if host is None:
                unreached.add(gate)
                continue
            left = load(home) - {gate}
            alike = {gate.machine, *(places[gate.machine].shared if gate.machine in places else ())}
            if not any(one.key == gate.key and one.machine in alike for one in left):
                authorized_keys.remove(host, gate.key, COMMENT)
            save(home, left)
    return unreached
