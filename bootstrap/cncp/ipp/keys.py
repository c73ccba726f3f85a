"""The identity of a cluster and the connection files made from it.

The identity (a signing key, a CurveZMQ key pair and the ports) is made once, before the first
start, and pinned. The connection files follow from it and the settings, so they can be written
again at any time. All of these let their holder run code: they are never readable by others.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import zmq

from cncp.config.parsers import PORTS_NEEDED
from cncp.errors import CncpError
from cncp.field_types import Matching, Port, Sized
from cncp.ipp.connection_file import ClientFile, CurveKey, EngineFile
from cncp.ports import free_block, is_free, within
from cncp.records import Record
from cncp.state_files import StateFile

SECRET = 0o600


@dataclass(frozen=True)
class Ports(Record):
    """All ports of a controller; ``internal`` are those that it has for itself, the last of them.

    It draws its two internal ports and the monitor's from a pool of their own.
    """

    all: Annotated[tuple[Port, ...], Sized(1024)]
    internal: tuple[Port, ...] = ()


@dataclass(frozen=True)
class Identity(Record):
    """What makes a cluster the same cluster over restarts; the profile's configuration reads it.

    ``ports.all`` has PORTS_NEEDED numbers.
    """

    key: Annotated[str, Matching(r"[\x20-\x7e]{1,1024}", "a key")]
    curve_publickey: CurveKey
    curve_secretkey: CurveKey
    ports: Ports

    @staticmethod
    def new(key: str, pair: tuple[bytes, bytes], ports: tuple[int, ...]) -> Identity:
        """Return one with a CurveZMQ key pair, the public key first."""
        return Identity(key, pair[0].decode(), pair[1].decode(), Ports(ports, ports[-3:]))


IDENTITY = StateFile("cncp-identity.json", Identity, "cncp up makes new keys and ports; copy them to clients")


def load(path: Path) -> Identity | None:
    """Read an identity; None where there is none or it is damaged."""
    return IDENTITY.intact(path.parent)


def ensure(path: Path, ports: str) -> Identity:
    """Return the identity stored at ``path``; make and store it where there is none.

    ``ports`` is the setting: "auto" or "LOW-HIGH". Ports that are pinned and fit the setting stay,
    others are chosen anew; the keys stay in any case. Raises CncpError when no ports are free.
    """
    known = load(path)
    if known is not None and fits(known.ports.all, ports):
        return known
    chosen = free_ports(ports)
    if known is None:
        made = Identity.new(secrets.token_hex(32), zmq.curve_keypair(), chosen)
    else:
        made = replace(known, ports=Ports(chosen, chosen[-3:]))
    IDENTITY.save(path.parent, made)
    return made


def renew(path: Path) -> Identity:
    """Replace the keys of a stored identity by new ones; its ports stay. Raises CncpError where there is none."""
    known = load(path)
    if known is None:
        raise CncpError(f"there are no keys in {path}", "make them: cncp up")
    made = Identity.new(secrets.token_hex(32), zmq.curve_keypair(), known.ports.all)
    IDENTITY.save(path.parent, made)
    return made


def fits(pinned: tuple[int, ...], setting: str) -> bool:
    """Tell whether pinned ports are as many as needed and within the setting."""
    if len(pinned) != PORTS_NEEDED:
        return False
    if setting == "auto":
        return True
    return set(pinned) <= set(within(setting))


def free_ports(setting: str) -> tuple[int, ...]:
    """Return PORTS_NEEDED free ports, in one block where the choice is ours. Raises CncpError."""
    if setting == "auto":
        return free_block(PORTS_NEEDED)
    free = [port for port in within(setting) if is_free(port)]
    if len(free) < PORTS_NEEDED:
        raise CncpError(
            f"only {len(free)} of the ports {setting} are free, {PORTS_NEEDED} are needed",
            "choose another range with --ports, or --ports auto; `ss -ltnp` shows who listens",
        )
    return tuple(free[:PORTS_NEEDED])


def connection_files(
    identity: Identity, *, listen: str, location: str, encryption: bool
) -> tuple[ClientFile, EngineFile]:
    """Return the two connection files.

    ``listen`` is the address the controller binds, ``location`` the name or address by which
    other machines reach it.
    """
    ports = iter(identity.ports.all)
    shared: dict[str, Any] = {
        "interface": f"tcp://{listen}",
        "location": location,
        "key": identity.key,
        "curve_serverkey": identity.curve_publickey if encryption else None,
        "pack": "json",
        "unpack": "json",
        "signature_scheme": "hmac-sha256",
        "registration": next(ports),
    }
    engine: dict[str, Any] = {name: next(ports) for name in EngineFile.channels[1:-1]}
    broadcast = (next(ports), next(ports))
    client: dict[str, Any] = {name: next(ports) for name in ClientFile.channels[1:]}
    return ClientFile(**shared, **client), EngineFile(**shared, **engine, broadcast=broadcast)
