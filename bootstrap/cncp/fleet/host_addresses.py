"""Where hosts are, in numbers: what a firewall knows them by."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from cncp.config.inventory import HostSpec
from cncp.errors import UsageError
from cncp.ssh import openssh


def of_hosts(specs: Iterable[HostSpec]) -> tuple[list[str], list[str]]:
    """Return the IPv4 addresses of hosts whose engines dial the controller, and names without one.

    Engines of this machine dial on loopback.
    """
    found: list[str] = []
    unknown: list[str] = []
    for spec in specs:
        if spec.local:
            continue
        addresses = _resolve(spec.address or spec.name) or _resolve(_alias(spec))
        found += [address for address in addresses if address not in found]
        unknown += [] if addresses else [spec.name]
    return found, unknown


def _resolve(name: str) -> list[str]:
    try:
        answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(answer[4][0]) for answer in answers if not str(answer[4][0]).startswith("127.")]


def _alias(spec: HostSpec) -> str:
    """Return what ~/.ssh/config calls a host."""
    return next(iter(openssh.configured("hostname", spec.name)), spec.name)


def networks(text: str, flag: str) -> list[str]:
    """Return the addresses and networks in a list with commas. Raises UsageError."""
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        try:
            network = ipaddress.IPv4Network(word)
        except ValueError:
            raise UsageError(
                f"{flag}: {word!r} is no IPv4 address or network", "give them with commas: 10.1.2.3,192.168.7.0/24"
            ) from None
        found.append(str(network.network_address) if network.prefixlen == 32 else str(network))
    return found
