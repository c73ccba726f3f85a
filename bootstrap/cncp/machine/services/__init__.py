"""The service managers, one interface for all: files to install, states to read, verbs to act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.resources import Resource
from cncp.machine.services import systemd
from cncp.machine.services.base import ServiceManager, ServiceState

__all__ = ["ServiceManager", "ServiceState", "manager_files", "service_manager"]


def manager_files(node: Node, services: Mapping[str, str]) -> Iterable[Resource]:
    """Return what the node's service manager needs on disk. ``services`` has their digests."""
    if node.manager == "systemd":
        return systemd.files(node, services)
    if node.manager == "supervisor":
        from cncp.machine.services import supervisor

        return supervisor.files(node, services)
    return ()


def service_manager(node: Node, actor: Actor) -> ServiceManager:
    """Return the service manager of a node."""
    if node.manager == "systemd":
        return systemd.Systemd(node, actor)
    # Root's step reads the units of this package, and has the standard library alone.
    from cncp.machine.services import multiplexer, supervisor

    if node.manager == "supervisor":
        return supervisor.Supervisor(node, actor)
    return multiplexer.session_manager(node, actor)
