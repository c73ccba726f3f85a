"""dnsmasq's configuration: addresses, which program of iPXE a machine gets, and where iPXE asks cidd.

Facts: dnsmasq(8); the architectures of RFC 4578, 2.1 and of IANA's list "Processor Architecture Types".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cncp.netboot.service.server_paths import ACCOUNT
from cncp.netboot.service.server_settings import Network

PROGRAM = "/usr/sbin/dnsmasq"
"""Where Debian and Fedora have it: not on the PATH of services."""

BIOS, UEFI = "undionly.kpxe", "snponly.efi"
"""iPXE's programs that use the card's own driver, as the firmware has begun to."""

_UEFI = {6: "IA32_EFI", 7: "BC_EFI", 9: "X86-64_EFI"}
"""Architectures of firmware that is UEFI on x86, with dnsmasq's names of them; 7 says what 9 ought to."""

_LEASE = "12h"


def render(network: Network, plain_port: int, leases: Path, own_lines: Path, programs: Path) -> str:
    """Return the file. ``programs`` is the folder with iPXE's; ``own_lines`` has the administrator's own."""
    lines = [
        "# Rendered by cncp; written again by every `cncp netboot.up`.",
        f"# Lines of your own go into files {own_lines}/*.conf.",
        "# No name server: DHCP and TFTP alone, on this interface alone, which may come up later.",
        "port=0",
        f"interface={network.interface}",
        "except-interface=lo",
        "bind-dynamic",
        f"user={ACCOUNT}",
        f"group={ACCOUNT}",
        "pid-file=",
        f"dhcp-leasefile={leases}",
        "log-dhcp",
        "enable-tftp",
        f"tftp-root={programs}",
        "tftp-no-fail",
        "# iPXE says so itself, and asks cidd; whatever came before it gets iPXE.",
        "dhcp-match=set:ipxe,175",
        # With the server's address, or iPXE takes no answer of a server that gives none itself (dhcp_has_pxeopts).
        f"dhcp-boot=tag:ipxe,{chain(network.address, plain_port)},,{network.address}",
        *(_addresses(network) if network.lease else _proxy(network)),
        f"conf-dir={own_lines},*.conf",
    ]
    return "".join(f"{line}\n" for line in lines)


def chain(address: str, plain_port: int) -> str:
    """Return what iPXE loads: the boot script of the card that it came up by, whichever that is."""
    return f"http://{address}:{plain_port}/v1/boot?mac=${{netX/mac}}&uuid=${{uuid}}"


def _addresses(network: Network) -> Iterator[str]:
    """Yield what is said where the addresses of that network are given by this server."""
    assert network.lease is not None  # noqa: S101  # asked by who calls
    first, last = network.lease
    yield f"dhcp-range={first},{last},{network.own.netmask},{_LEASE}"
    yield f"dhcp-lease-max={int(last) - int(first) + 1}"
    yield "dhcp-authoritative"
    yield "# iPXE, Blancmange and images name themselves differently: one address for each card."
    yield "dhcp-ignore-clid"
    yield "# This is no router and no name server, unless your own lines say where those are."
    yield "dhcp-option=option:router"
    yield "dhcp-option=option:dns-server"
    for number in _UEFI:
        yield f"dhcp-match=set:uefi,option:client-arch,{number}"
    yield f"dhcp-boot=tag:!ipxe,tag:!uefi,{BIOS}"
    yield f"dhcp-boot=tag:!ipxe,tag:uefi,{UEFI}"
    yield "# iPXE waits 16 s for a router and for another boot server, unless it is told that there is none."
    yield "dhcp-option-force=encap:175,176,1b"
    yield "enable-ra"
    yield f"ra-param={network.interface},60,0"
    yield "dhcp-range=fd99::,ra-only,64"


def _proxy(network: Network) -> Iterator[str]:
    """Yield what is said beside another DHCP server, whose addresses and routes are left alone."""
    yield f"dhcp-range={network.own.network.network_address},proxy,{network.own.netmask}"
    yield f"pxe-service=tag:!ipxe,x86PC,cncp,{BIOS}"
    for name in _UEFI.values():
        yield f"pxe-service=tag:!ipxe,{name},cncp,{UEFI}"
