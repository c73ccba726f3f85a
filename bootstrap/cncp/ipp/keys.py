"""The identity of a cluster and the connection files made from it.

The identity (a signing key, a CurveZMQ key pair and the ports) is made once, before the first
start, and pinned. The connection files follow from it and the settings, so they can be written
again at any time. All of these let their holder run code: they are never readable by others.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from cncp.config.settings import PORTS_NEEDED
from cncp.errors import CncpError
from cncp.files import read_shape, to_json, write_atomic
from cncp.ports import free_block, is_free, within
from cncp.shape import Misfit, made, parse

SECRET = 0o600

_CURVE = 40
"""Characters of a key in Z85, which is 32 bytes: zmq_curve(7)."""

_STORED = {"key": str, "curve_publickey": str, "curve_secretkey": str, "ports": {"all": tuple[int, ...]}}

_SHARED = ("registration",)
_ENGINE = ("control", "mux", "task", "iopub", "hb_ping", "hb_pong")
_CLIENT = ("control", "mux", "task", "iopub", "notification", "broadcast")

ENGINE_CHANNELS = (*_SHARED, *_ENGINE, "broadcast")
"""What an engine dials; ``broadcast`` is two ports."""

CLIENT_CHANNELS = (*_SHARED, *_CLIENT)
"""What a client dials (``Client._connect`` of ipyparallel 9.2)."""


def ports_of(document: Mapping[str, Any], channels: Iterable[str]) -> list[int]:
    """Return the ports of a connection file's channels in order, those of ``broadcast`` one after another."""
    values = (document[channel] for channel in channels)
    return [port for value in values for port in (value if isinstance(value, list) else [value])]


@dataclass(frozen=True)
class Identity:
    """What makes a cluster the same cluster over restarts. ``ports`` has PORTS_NEEDED numbers."""

    key: str
    curve_publickey: str
    curve_secretkey: str
    ports: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """Return the identity as it is stored; the profile's configuration reads it."""
        return {
            "key": self.key,
            "curve_publickey": self.curve_publickey,
            "curve_secretkey": self.curve_secretkey,
            # The controller draws its two internal ports and the monitor's from a pool of their own.
            "ports": {"all": list(self.ports), "internal": list(self.ports[-3:])},
        }


def load(path: Path) -> Identity | None:
    """Read an identity; None where there is none or it is damaged."""
    stored = read_shape(path, _STORED)
    if stored is None or not all(1 <= port <= 65535 for port in stored["ports"]["all"]):
        return None
    keys = {name: stored[name] for name in ("key", "curve_publickey", "curve_secretkey")}
    if not keys["key"] or not all(len(keys[name]) == _CURVE and keys[name].isascii() for name in list(keys)[1:]):
        return None
    return Identity(**keys, ports=stored["ports"]["all"])


def ensure(path: Path, ports: str) -> Identity:
    """Return the identity stored at ``path``; make and store it where there is none.

    ``ports`` is the setting: "auto" or "LOW-HIGH". Ports that are pinned and fit the setting stay,
    others are chosen anew; the keys stay in any case. Raises CncpError when no ports are free.
    """
    known = load(path)
    if known is not None and fits(known.ports, ports):
        return known
    if known is None:
        public, secret = zmq.curve_keypair()
        key = secrets.token_hex(32)
    else:
        public, secret = known.curve_publickey.encode(), known.curve_secretkey.encode()
        key = known.key
    made = Identity(key, public.decode(), secret.decode(), free_ports(ports))
    write_atomic(path, to_json(made.document()), SECRET)
    return made


def renew(path: Path) -> Identity:
    """Replace the keys of a stored identity by new ones; its ports stay. Raises CncpError where there is none."""
    known = load(path)
    if known is None:
        raise CncpError(f"there are no keys in {path}", "make them: cncp up")
    public, secret = zmq.curve_keypair()
    made = Identity(secrets.token_hex(32), public.decode(), secret.decode(), known.ports)
    write_atomic(path, to_json(made.document()), SECRET)
    return made


def fits(pinned: tuple[int, ...], setting: str) -> bool:
    """Tell whether pinned ports are as many as needed and within the setting."""
    if len(pinned) != PORTS_NEEDED:
        return False
    if setting == "auto":
        return True
    return set(pinned) <= set(within(setting))


_TEXTS = ("key", "signature_scheme", "pack", "unpack", "interface")
_OPTIONAL = {"location": "", "task_scheme": "leastload", "curve_serverkey": None}


def client_document(content: bytes) -> dict[str, Any]:
    """Read a client's connection file, ours or ipyparallel's own. Raises Misfit without its content.

    Fields that no client reads are dropped, and so is ``ssh``, which would have a client run ssh.
    """
    try:
        value = made({**dict.fromkeys(_TEXTS, str), **dict.fromkeys(CLIENT_CHANNELS, int)}, parse(content))
    except Misfit:
        raise Misfit("no connection file of ipyparallel") from None
    named = (*_TEXTS, *CLIENT_CHANNELS)
    found = {**{key: value[key] for key in named}, **{key: value.get(key) or _OPTIONAL[key] for key in _OPTIONAL}}
    if not all(1 <= found[channel] <= 65535 for channel in CLIENT_CHANNELS):
        raise Misfit("a connection file with impossible ports")
    try:
        made({"location": str, "task_scheme": str, "curve_serverkey": str | None}, found)
    except Misfit:
        raise Misfit("a connection file with impossible values") from None
    if found["curve_serverkey"] and not (
        len(found["curve_serverkey"]) == _CURVE and found["curve_serverkey"].isascii()
    ):
        raise Misfit("a connection file with an impossible public key")
    if not re.fullmatch(r"tcp://[A-Za-z0-9.:*_\[\]-]+", found["interface"]):
        raise Misfit("the connection file of a controller without TCP")
    return {**found, "ssh": ""}


_SIGNED = re.compile(r"hmac-[a-z0-9]+")
_DIALLED = re.compile(r"tcp://[A-Za-z0-9.:*_\[\]-]+")
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")


def engine_document(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engines' connection file that came from elsewhere, with what engines read alone. Raises Misfit.

    ``ssh``, which would have an engine run ssh, is dropped. ``names`` is where else the controller can be dialled.
    """
    shape = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_ENGINE, int), "registration": int, "location": str}
    found = made({**shape, "broadcast": tuple[int, int], "curve_serverkey": str | None}, value, "the connection file")
    kept = {name: found[name] for name in (*shape, "curve_serverkey")}
    if not all(1 <= port <= 65535 for port in ports_of(found, (*_SHARED, *_ENGINE)) + list(found["broadcast"])):
        raise Misfit("a connection file with impossible ports")
    names = made(list[str], value.get("names", []), "names")
    if not all(_NAMED.fullmatch(name) for name in names) or not _NAMED.fullmatch(found["location"]):
        raise Misfit("a connection file with impossible names")
    key = found["curve_serverkey"]
    if not _DIALLED.fullmatch(found["interface"]) or not _SIGNED.fullmatch(found["signature_scheme"]):
        raise Misfit("the connection file of a controller without TCP or signatures")
    if not found["key"] or (key is not None and not (len(key) == _CURVE and key.isascii())):
        raise Misfit("a connection file with impossible keys")
    if (found["pack"], found["unpack"]) != ("json", "json"):
        # Others would be imported by name.
        raise Misfit("a connection file with another encoding than JSON")
    return {**kept, "broadcast": list(found["broadcast"]), "ssh": "", **({"names": names} if names else {})}


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


def connection_files(identity: Identity, *, listen: str, location: str, encryption: bool) -> dict[str, dict[str, Any]]:
    """Return the content of the two connection files by their names.

    ``listen`` is the address the controller binds, ``location`` the name or address by which
    other machines reach it. The fields are those that ipyparallel 9.2 writes and reads
    (``IPController.init_hub`` and ``load_config_from_json``).
    """
    port = iter(identity.ports)
    shared = {name: next(port) for name in _SHARED}
    engine: dict[str, Any] = {name: next(port) for name in _ENGINE}
    engine["broadcast"] = [next(port), next(port)]
    client: dict[str, Any] = {name: next(port) for name in _CLIENT}
    base = {
        "ssh": "",
        "interface": f"tcp://{listen}",
        "location": location,
        "key": identity.key,
        "curve_serverkey": identity.curve_publickey if encryption else None,
        "pack": "json",
        "unpack": "json",
        "signature_scheme": "hmac-sha256",
        **shared,
    }
    return {
        "ipcontroller-client.json": {**base, **client, "task_scheme": "leastload"},
        "ipcontroller-engine.json": {**base, **engine},
    }
