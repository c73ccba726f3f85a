"""Port clashes: found before the start and named."""

from __future__ import annotations

import contextlib

import psutil

from cncp.errors import CncpError
from cncp.ipp import keys
from cncp.machine.node import Node
from cncp.machine.services import processes
from cncp.ports import is_free


def taken(node: Node) -> dict[int, str]:
    """Return the pinned ports that something listens on, with who it is where that can be seen."""
    identity = keys.load(node.identity)
    if identity is None:
        return {}
    busy = {port for port in identity.ports.all if not is_free(port)}
    return {port: _owner(port) for port in sorted(busy)}


def check(node: Node, running: set[str]) -> None:
    """Raise CncpError when a pinned port is taken although our controller does not run."""
    if not node.controller or "controller" in running:
        return
    clashes = taken(node)
    if clashes:
        named = ", ".join(f"{port} ({owner})" if owner else str(port) for port, owner in clashes.items())
        raise CncpError(
            f"the controller's ports are taken: {named}",
            "end that program, or have other ports chosen: cncp up --ports LOW-HIGH",
        )


def insist(node: Node) -> None:
    """Raise CncpError where the controller could not have its ports. Changes nothing."""
    if not node.controller:
        return
    identity = keys.load(node.identity)
    if identity is not None and not keys.fits(identity.ports.all, node.settings.ports):
        keys.free_ports(node.settings.ports)
    elif not all(map(is_free, identity.ports.all if identity else ())):
        check(node, {service.name for service in processes.ours(node).services})


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                process = psutil.Process(connection.pid)
                return f"{process.name()}, process {connection.pid}, of {process.username()}"
    return ""
