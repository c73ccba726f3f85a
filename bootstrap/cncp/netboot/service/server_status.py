"""What the server's services do: which run, since when, and where their logs are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from cncp.machine.actor import Actor
from cncp.machine.services import ServiceManager, ServiceState, service_manager
from cncp.machine.services.startup import began
from cncp.netboot.service.server_node import SERVICES, ServerNode, server_node
from cncp.netboot.service.server_paths import Paths
from cncp.records import Record


@dataclass(frozen=True)
class ServiceRow(Record):
    """A service as it is: ``since`` in s since the epoch, 0 where it does not run; ``log`` is a command."""

    name: str
    running: bool
    pid: int
    since: float
    restarts: int
    log: str


def manager_of(node: ServerNode) -> ServiceManager:
    """Return what keeps the services."""
    return service_manager(node, Actor(node.account))


def log_command(manager: ServiceManager, name: str) -> str:
    """Return what shows the log of a service."""
    words = manager.attach_command(name)
    return shlex.join("-e" if word == "-f" else word for word in words)


def rows(paths: Paths) -> list[ServiceRow]:
    """Return the services as they are, none where there is no server."""
    node = server_node(paths)
    if not node.run_dir.is_dir():
        return []
    manager = manager_of(node)
    states = manager.states()
    found = []
    for name in SERVICES:
        state = states.get(name) or ServiceState(name, running=False)
        since = began(state.pid) if state.running and state.pid else 0.0
        found.append(ServiceRow(name, state.running, state.pid, since, state.restarts, log_command(manager, name)))
    return found
