"""What has to be so before `netboot.up` changes anything."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Collection
from pathlib import Path

from cncp.errors import PreflightError, UsageError
from cncp.netboot.service.dhcp_probe import Offer
from cncp.netboot.service.dnsmasq_conf import BIOS, PROGRAM, UEFI
from cncp.netboot.service.server_settings import PROXY, Network, ServerSettings
from cncp.process import new_enough, run

_UDP_PORTS = {67: "DHCP", 69: "TFTP"}
_BY_OTHERS = 0o001  # what a folder lets accounts through by that have no part in it


def insist_on_root(verb: str) -> None:
    """Raise PreflightError where this is not root."""
    if os.geteuid() != 0:
        raise PreflightError(
            f"{verb} needs root: it gives addresses to a network",
            f"in a login of root's, with a cncp of root's own: cncp {verb}",
        )


def insist_on_packages(root: Path) -> None:
    """Raise PreflightError naming the packages that are not there."""
    needed = {
        "dnsmasq-base": [PROGRAM.removeprefix("/")],
        "ipxe": [f"usr/lib/ipxe/{name}" for name in (BIOS, UEFI)],
    }
    lacking = [name for name, files in needed.items() if not all((root / file).exists() for file in files)]
    if lacking:
        names = " ".join(lacking)
        raise PreflightError(f"what nodes boot by is not here: {names}", f"as root: apt install {names}")


def insist_on_owner(name: str) -> None:
    """Raise UsageError where the account that is to have the access file is not there."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise UsageError(
            f"there is no account {name} to have cidcapt's access file", "name that of the scheduler: --owner slurm"
        ) from None


def insist_on_ports(settings: ServerSettings, network: Network, ours: Collection[int]) -> None:
    """Raise where ports are the same, or another program has one of them. ``ours`` are those of what runs already."""
    if settings.port == settings.plain_port:
        raise UsageError(f"port and plain_port are both {settings.port}", "give one of them another number")
    for port in {settings.port, settings.plain_port}.difference(ours):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(probe, network.address, port, f"{port}", "end what has it, or choose another: --port, --plain-port")
    for port in _UDP_PORTS.keys() - set(ours):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Servers of other interfaces are none of our business.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, network.interface.encode())
            _bind(probe, "0.0.0.0", port, f"{port} ({_UDP_PORTS[port]})", f"see who: ss -lunp sport = :{port}")


def _bind(probe: socket.socket, address: str, port: int, told: str, hint: str) -> None:
    try:
        probe.bind((address, port))
    except OSError as error:
        raise PreflightError(f"port {told} cannot be had: {error.strerror}", hint) from None


def insist_on_peace(found: Collection[Offer], settings: ServerSettings, network: Network) -> None:
    """Raise PreflightError where another server tells nodes what to boot, or gives addresses that we would give."""
    others = [offer for offer in found if offer.server != network.address]
    rival = next((offer for offer in others if not offer.gives_address), None)
    if rival:
        raise PreflightError(
            f"{rival.server} tells machines on {network.interface} what to boot already", "switch that off first"
        )
    if others and settings.dhcp != PROXY:
        raise PreflightError(
            f"{others[0].server} gives addresses on {network.interface} already",
            "leave that to it: --dhcp proxy; or switch it off first",
        )


def insist_on_words(content: str, scratch: Path, own_lines: Path) -> None:
    """Raise UsageError where dnsmasq does not take its configuration, because of the administrator's own lines."""
    kept = [line for line in content.splitlines() if own_lines.is_dir() or not line.startswith("conf-dir=")]
    # The account is made later.
    words = [line for line in kept if not line.startswith(("user=", "group="))]
    path = scratch / "dnsmasq.conf"
    path.write_text("\n".join([*words, ""]))
    done = run([PROGRAM, "--test", f"--conf-file={path}"], check=False, timeout=30)
    if not done.ok:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UsageError(
            f"dnsmasq does not take its configuration: {said[-1] if said else done.status}",
            f"mend the lines in {own_lines}",
        )


def python(candidates: Collection[str]) -> str:
    """Return the first Python that an account without rights can run. Raises PreflightError."""
    for candidate in map(os.path.realpath, candidates):
        with contextlib.suppress(OSError):
            folders = Path(candidate).parents
            if all(folder.stat().st_mode & _BY_OTHERS for folder in folders) and new_enough(candidate):
                return candidate
    raise PreflightError("no Python 3.10 or newer that other accounts can run is here", "as root: apt install python3")
