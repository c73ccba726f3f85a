"""How the server is set: a file that `netboot.up` writes and people may, and the network that follows from it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import psutil

from cncp.errors import UsageError
from cncp.field_types import Matching, Within
from cncp.netboot.cidd import PLAIN_PORT, PORT
from cncp.records import Odd, Record, fitted
from cncp.state_files import StateFile

_ADDRESS = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
_MOST = 4096  # addresses to give away: four for each node that cidd can have

PROXY = "proxy"
"""What stands for ``dhcp`` where another server gives addresses, and this one says what to boot alone."""


@dataclass(frozen=True)
class ServerSettings(Record):
    """What `netboot.up` was told. ``dhcp`` is a range of addresses, "proxy", or "" for the upper half of the network.

    ``address`` is the server's own, "" for the interface's first; ``owner`` has the access file of jobs.
    """

    strict: ClassVar[bool] = True

    interface: Annotated[str, Matching(r"[A-Za-z0-9_.@-]{1,15}", "the name of an interface")]
    address: Annotated[str, Matching(rf"({_ADDRESS})?", "an address such as 10.1.0.1")] = ""
    dhcp: Annotated[str, Matching(rf"({PROXY}|{_ADDRESS}-{_ADDRESS})?", "proxy, or FIRST-LAST")] = ""
    owner: Annotated[str, Matching(r"[a-z_][a-z0-9_-]{0,31}", "an account")] = "root"
    port: Annotated[int, Within(1, 65535)] = PORT
    plain_port: Annotated[int, Within(1, 65535)] = PLAIN_PORT
    at_once: Annotated[int, Within(1, 1024)] = 8


SETTINGS = StateFile(
    "netboot.json", ServerSettings, "mend it, or move it away and name the interface again", mode=0o644
)


def gathered(kept: ServerSettings | None, given: Mapping[str, object]) -> ServerSettings:
    """Return the settings of the file with those of the command line in their place. Raises UsageError."""
    said = {name: value for name, value in given.items() if value is not None}
    if kept is None and "interface" not in said:
        raise UsageError(
            "no interface is named, and none was before",
            f"name that of the nodes' network: --interface with one of {_names(interfaces())}",
        )
    whole = {**(kept.to_json() if kept else {}), **said}
    try:
        return fitted(ServerSettings, whole)
    except Odd as odd:
        raise UsageError(f"command line: --{odd.told().replace('_', '-')}", "see cncp netboot.up --help") from None


@dataclass(frozen=True)
class Network:
    """The nodes' network: the server's address on it, and which it gives away, None where another server does."""

    interface: str
    own: ipaddress.IPv4Interface
    lease: tuple[ipaddress.IPv4Address, ipaddress.IPv4Address] | None

    @property
    def address(self) -> str:
        """The server's own address."""
        return str(self.own.ip)


def interfaces() -> Mapping[str, tuple[ipaddress.IPv4Interface, ...]]:
    """Return the interfaces that nodes can be on, each with its addresses."""
    flags = {name: seen.flags.split(",") for name, seen in psutil.net_if_stats().items()}
    return {
        name: tuple(
            ipaddress.IPv4Interface(f"{seen.address}/{seen.netmask}")
            for seen in addresses
            if seen.family == socket.AF_INET and seen.netmask
        )
        for name, addresses in psutil.net_if_addrs().items()
        if "loopback" not in flags.get(name, ())
    }


def network(settings: ServerSettings, there: Mapping[str, tuple[ipaddress.IPv4Interface, ...]]) -> Network:
    """Return the network that settings mean on this machine. Raises UsageError."""
    name = settings.interface
    if name not in there:
        raise UsageError(f"there is no interface {name} for nodes", f"name one of: {_names(there)}")
    if not there[name]:
        raise UsageError(
            f"{name} has no IPv4 address", f"give it one first, such as: ip addr add 10.1.0.1/24 dev {name}"
        )
    own = next((seen for seen in there[name] if settings.address in ("", str(seen.ip))), None)
    if own is None:
        addresses = ", ".join(str(seen.ip) for seen in there[name])
        raise UsageError(f"{name} has no address {settings.address}", f"it has {addresses}")
    if own.network.num_addresses < 4:
        raise UsageError(f"{own} is a network without room for a node", "give the interface an address as 10.1.0.1/24")
    return Network(name, own, None if settings.dhcp == PROXY else _lease(settings.dhcp, own))


def _lease(said: str, own: ipaddress.IPv4Interface) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    """Return the first and the last address to give away."""
    whole = own.network
    if not said:
        last = whole.broadcast_address - 1
        first = max(whole.network_address + 1, whole.broadcast_address - min(whole.num_addresses // 2, _MOST))
        # The own address is in the way: what is longer of the parts before and after it.
        if first <= own.ip <= last:
            first, last = (
                (first, own.ip - 1) if int(own.ip) - int(first) >= int(last) - int(own.ip) else (own.ip + 1, last)
            )
        return first, last
    example = f"give a part of {whole}, such as {whole.broadcast_address - 2}-{whole.broadcast_address - 1}"
    try:
        first, last = (ipaddress.IPv4Address(word) for word in said.split("-"))
    except ValueError:
        raise UsageError(f"{said!r} is no range of addresses", example) from None
    inside = whole.network_address < first <= last < whole.broadcast_address
    if not inside:
        raise UsageError(f"{said} is no range within the network {whole}", example)
    if first <= own.ip <= last:
        raise UsageError(f"{said} has the server's own address {own.ip} in it", "leave that out")
    if int(last) - int(first) >= _MOST:
        raise UsageError(f"{said} is more than {_MOST} addresses", "give as many as there are nodes, and some more")
    return first, last


def _names(there: Mapping[str, object]) -> str:
    return ", ".join(sorted(there)) or "none that there is"
