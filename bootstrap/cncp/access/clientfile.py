"""The content of ipcontroller-client.json: checked, told apart by fingerprints, made to fit an address."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from cncp.errors import CncpError
from cncp.keys import CLIENT_CHANNELS, ports_of

Document = Mapping[str, Any]

_TEXTS = ("key", "signature_scheme", "pack", "unpack", "interface")


def parse(content: bytes, where: str) -> dict[str, Any]:
    """Read a client's connection file, ours or ipyparallel's own. Raises CncpError without its content.

    Fields that no client reads are dropped, and so is ``ssh``, which would have a client run ssh.
    """
    try:
        value = json.loads(content)
        wanted = {key: value[key] for key in (*_TEXTS, *CLIENT_CHANNELS)}
    except (ValueError, KeyError, TypeError):
        raise _useless(where, "no connection file of ipyparallel") from None
    optional = {"location": "", "task_scheme": "leastload", "curve_serverkey": None}
    found = {**wanted, **{key: value.get(key, default) for key, default in optional.items()}, "ssh": ""}
    ports = [found[channel] for channel in CLIENT_CHANNELS]
    if not all(isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= 65535 for port in ports):
        raise _useless(where, "a connection file with impossible ports")
    found["location"] = found["location"] or ""
    texts = [found[key] for key in found if key not in (*CLIENT_CHANNELS, "curve_serverkey")]
    if not all(isinstance(text, str) for text in [*texts, found["curve_serverkey"] or ""]):
        raise _useless(where, "a connection file with impossible values")
    if found["curve_serverkey"] and len(found["curve_serverkey"]) != 40:  # Z85 of 32 bytes: zmq_curve(7)
        raise _useless(where, "a connection file with an impossible public key")
    if not found["interface"].startswith("tcp://"):
        raise _useless(where, "the connection file of a controller without TCP")
    return found


def _useless(where: str, what: str) -> CncpError:
    return CncpError(f"{where} is {what}", "have the controller write it again: cncp restart, or ipcontroller")


def fingerprint(document: Document) -> str:
    """Return what tells clusters apart: no key follows from it."""
    return hashlib.sha256(str(document.get("key") or "").encode()).hexdigest()[:16]


def curve_fingerprint(document: Document) -> str:
    """Return the same of the controller's public key; "" where nothing is encrypted.

    The public key itself is not shown: with it anybody may connect, though not say anything.
    """
    public = document.get("curve_serverkey")
    return hashlib.sha256(str(public).encode()).hexdigest()[:16] if public else ""


def same_cluster(one: Document, other: Document) -> bool:
    """Tell whether two files hold the same keys."""
    return all(one.get(name) == other.get(name) for name in ("key", "curve_serverkey"))


def bound(document: Document) -> str:
    """Return the address that the controller listens on."""
    return str(document["interface"]).partition("://")[2]


def on_all_interfaces(document: Document) -> bool:
    """Tell whether the controller listens on every address of its machine."""
    return bound(document) in ("0.0.0.0", "*", "")


def on_loopback(document: Document) -> bool:
    """Tell whether only programs on the controller's machine reach it."""
    return bound(document) == "localhost" or bound(document).startswith("127.")


def ports(document: Document) -> tuple[int, ...]:
    """Return the ports of the channels in order."""
    return tuple(ports_of(document, CLIENT_CHANNELS))


def dialled(document: Document) -> str:
    """Return the address that a client with this file dials."""
    return str(document["location"]) if on_all_interfaces(document) else bound(document)


def at(document: Document, address: str, mapped: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return the file for a client that reaches the controller at ``address``, at other ports if given."""
    channels = dict(zip(CLIENT_CHANNELS, mapped or ports(document), strict=True))
    return {**document, "interface": f"tcp://{address}", "location": address, **channels}


def is_ipv6(address: str) -> bool:
    """Tell whether an address is one that ipyparallel's URLs cannot hold."""
    try:
        return ipaddress.ip_address(address.strip("[]")).version == 6
    except ValueError:
        return False
