"""What the key of a tunnel may do, and which machine lets in which.

That is noted, so that no line of authorized_keys outlives its tunnel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cncp.config.settings import LOOPBACK
from cncp.fleet import registry
from cncp.fleet.registry import Placed
from cncp.machine.tunnels import Tunnel
from cncp.records import Record
from cncp.ssh import authorized_keys, keypair
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.state_files import StateFile

COMMENT = "cncp tunnel"
"""What ends the lines of authorized_keys that let tunnels in."""

_NOWHERE = f"{LOOPBACK}:9"  # discard (RFC 863): lists of permitted ports cannot be empty


@dataclass(frozen=True, order=True)
class Gate:
    """One line of authorized_keys: on ``machine``, for the tunnel of the host ``engines``, with its ``key``."""

    machine: str
    engines: str
    key: str


@dataclass(frozen=True)
class Gates(Record):
    """The gates that `up` has opened from here."""

    gates: tuple[Gate, ...] = ()


STORE = StateFile("gates.json", Gates, "cncp up notes anew which keys it lets in where", "the keys of tunnels")


def load(home: Path) -> set[Gate]:
    """Return the gates that `up` has opened from here."""
    return set((STORE.intact(home) or Gates()).gates)


def save(home: Path, gates: Collection[Gate]) -> None:
    """Keep the gates that are open."""
    registry.keep(STORE, home, Gates(tuple(sorted(gates))) if gates else None)


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
            if not any(known.key == gate.key and known.machine in alike for known in left):
                authorized_keys.remove(host, gate.key, COMMENT)
            save(home, left)
    return unreached


def let_in(server: Host, public: str, tunnel: Tunnel) -> str:
    """Have a host let a key in for these ports alone (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"); return the key."""
    identity = " ".join(public.split()[:2])
    if not keypair.is_public_ed25519(identity):
        raise HostError(tunnel.host, "it has no key for its tunnel", "bring it up again: cncp up")
    listens = [f"{LOOPBACK}:{port}" for port in tunnel.ports] if tunnel.reverse else [_NOWHERE]
    opens = [_NOWHERE] if tunnel.reverse else [f"{tunnel.bound}:{port}" for port in tunnel.ports]
    options = [
        *("restrict", "port-forwarding", 'command="/bin/false"'),
        *(f'permitlisten="{port}"' for port in listens),
        *(f'permitopen="{port}"' for port in opens),
    ]
    authorized_keys.put(server, identity, f"{','.join(options)} {identity} {COMMENT}", COMMENT)
    return identity
