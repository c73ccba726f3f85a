"""The service managers, one interface for all: files to install, states to read, verbs to act.

Ours are a table; those of other packages are found by their entry points. Standard library only, as all that root's
step reads: which knows systemd alone, and finds none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cncp.errors import CncpError
from cncp.extensions import Kinds
from cncp.machine.node import Node
from cncp.machine.services.base import ServiceManager, guarded

if TYPE_CHECKING:
    from cncp.machine.actor import Actor
    from cncp.machine.resources import Resource

MANAGERS: Kinds[ServiceManager] = Kinds(
    "service manager",
    "cncp.service_managers",
    ServiceManager,  # type: ignore[type-abstract]  # its subclasses are what is found
    {
        "systemd": "cncp.machine.services.systemd:Systemd",
        "supervisor": "cncp.machine.services.supervisor:Supervisor",
        "tmux": "cncp.machine.services.multiplexer:TmuxSessions",
        "screen": "cncp.machine.services.multiplexer:ScreenSessions",
    },
)


def manager_kind(node: Node) -> type[ServiceManager]:
    """Return the kind of service manager of a node. Raises UsageError where there is none of its name."""
    if node.manager not in MANAGERS.ours and os.geteuid() != node.account.uid:
        # What an account has installed is its own, and runs with no other rights.
        raise CncpError(
            f"{node.manager} is no service manager of ours, and is run as {node.account.name} alone",
            f"run this as {node.account.name}",
        )
    kind = MANAGERS.find(node.manager, "service_manager")
    return kind if node.manager in MANAGERS.ours else guarded(kind)


def insist(node: Node) -> None:
    """Raise CncpError where there is no service manager of that name, or it cannot keep the node. Changes nothing."""
    kind = manager_kind(node)
    if node.services:
        kind.insist(node)


def manager_files(node: Node, services: Mapping[str, str]) -> Iterable[Resource]:
    """Return what the node's service manager needs on disk. ``services`` has their digests."""
    return manager_kind(node).files(node, services)


def service_manager(node: Node, actor: Actor) -> ServiceManager:
    """Return the service manager of a node."""
    return manager_kind(node)(node, actor)
