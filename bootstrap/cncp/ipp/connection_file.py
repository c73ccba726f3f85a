"""The content of ipcontroller-client.json: checked, told apart by fingerprints, made to fit an address."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any

from cncp.errors import CncpError
from cncp.ipp.keys import CLIENT_CHANNELS, client_document, ports_of
from cncp.shape import Misfit

Document = Mapping[str, Any]


def parse(content: bytes, where: str) -> dict[str, Any]:
    """Read a client's connection file, ours or ipyparallel's own. Raises CncpError without its content.

    Fields that no client reads are dropped, and so is ``ssh``, which would have a client run ssh.
    """
    try:
        return client_document(content)
    except Misfit as error:
        hint = "have the controller write it again: cncp restart, or ipcontroller"
        raise CncpError(f"{where} is {error}", hint) from None


def fingerprint(document: Document) -> str:
    """Return what tells clusters apart: no key follows from it."""
    return hashlib.sha256(str(document.get("key") or "").encode()).hexdigest()[:16]


def curve_fingerprint(document: Document) -> str:
    """Return the same of the controller's public key; "" where nothing is encrypted.

    The public key itself is not shown: with it anybody may connect, though not say anything.
    """
    public = document.get("curve_serverkey")
    return hashlib.sha256(str(public).encode()).hexdigest()[:16] if public else ""


def same_cluster(document: Document, other: Document) -> bool:
    """Tell whether two files hold the same keys."""
    return all(document.get(name) == other.get(name) for name in ("key", "curve_serverkey"))


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
