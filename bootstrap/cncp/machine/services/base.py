"""What every service manager offers, and what all of them share."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cncp import pidfile, remote
from cncp.machine.node import Node
from cncp.machine.services import processes
from cncp.machine.services.kinds import split
from cncp.machine.services.processes import Ours
from cncp.surroundings import PYTHON


@dataclass(frozen=True)
class ServiceState:
    """What a manager says of a service. ``digest`` is the one it runs with, "" when not running.

    ``pid`` is the process of the service itself, 0 when it does not run.
    """

    name: str
    running: bool
    pid: int = 0
    restarts: int = 0
    last_exit: str = ""
    digest: str = ""


class ServiceManager(Protocol):
    """Keeps the services of one node running. Names are those of `cncp.machine.services.kinds`: "engine-0"."""

    def states(self) -> dict[str, ServiceState]:
        """Return the state of every service that the manager knows or that is wanted."""

    def keepers(self) -> set[int]:
        """Return the processes that keep services for this manager: what they have begun is looked after."""

    def reload(self) -> None:
        """Take over changed files; running services go on."""

    def start(self, services: Mapping[str, str]) -> None:
        """Start services (with their digests) without waiting for them."""

    def stop(self, names: Sequence[str]) -> None:
        """Stop services and return when they are gone."""

    def persist(self) -> str:
        """Make the services come back after a reboot. Return "" or why they will not."""

    def forget(self) -> None:
        """Undo ``persist`` and end what the manager itself keeps running."""

    def clean_up(self) -> None:
        """Forget files that are gone, and end the lingering that ``persist`` began.

        Where the manager itself has ended there is nothing to do.
        """

    def attach_command(self, name: str) -> list[str]:
        """Return the command that shows a service's output as it comes."""


def command(node: Node, name: str, digest: str) -> list[str]:
    """Return the argument list of a service."""
    kind, instance = split(name)
    what = [kind, instance] if instance else [kind]
    shared = ["--node", f"{node.home}/node.json", "--digest", digest]
    return [str(node.python), *PYTHON, *remote.command("serve", *what, *shared)]


def running_process(node: Node, name: str) -> pidfile.Process:
    """Return the process of a service from the record it left at its start, or as it is seen without."""
    kept = pidfile.read(node.run_dir, name)
    if kept.pid:
        return kept
    pid = next((service.pid for service in processes.ours(node).services if service.name == name), 0)
    return processes.as_recorded(node, pid)


def unkept(node: Node, manager: ServiceManager, states: Mapping[str, ServiceState]) -> Ours:
    """Return processes of ours that no service manager looks after, where ``states`` is what it has just said.

    They are left when a service manager is killed, or its socket removed: they hold the ports, and
    nothing restarts them.
    """
    first = _alone(node, manager, states)
    if not first.services and not first.keepers:
        return first
    # What has just ended, or was just started, is none of them: look again.
    again = _alone(node, manager, manager.states())
    return Ours(
        tuple(service for service in first.services if service in again.services),
        tuple(keeper for keeper in first.keepers if keeper in again.keepers),
    )


def sweep(node: Node, names: Collection[str], patience: float = 1.0) -> None:
    """End what services that were stopped have left behind, as systemd does with a unit's: by force in the end."""
    # Root's step reads this module, and has the standard library alone.
    import psutil

    left = []
    for pid in processes.leavings(node, names):
        with contextlib.suppress(psutil.Error):
            left.append(psutil.Process(pid))
            left[-1].terminate()
    for process in psutil.wait_procs(left, timeout=patience)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _alone(node: Node, manager: ServiceManager, states: Mapping[str, ServiceState]) -> Ours:
    found = processes.ours(node)
    return found.unkept({state.pid for state in states.values()}, manager.keepers())


def exits(node: Node, name: str) -> tuple[int, str]:
    """Return how often a service ended by itself, and how it did the last time, in words."""
    try:
        lines = (node.run_dir / f"{name}.exits").read_text().splitlines()
    except FileNotFoundError:
        return 0, ""
    return len(lines), exit_in_words(lines[-1]) if lines else ""


_SIGNALS = {"9": "KILL", "15": "TERM", "6": "ABRT", "11": "SEGV", "7": "BUS", "2": "INT", "1": "HUP"}


def exit_in_words(line: str) -> str:
    """Turn a line of an exits file (seconds, result, code, status) into words."""
    words = line.split()
    if len(words) != 4:
        return ""
    _, result, code, status = words
    if result == "oom-kill":
        return "out of memory"
    if code in ("killed", "dumped"):
        return f"signal {_SIGNALS.get(status, status)}"
    if result in ("signal", "exit-code", "success", "unknown"):
        return f"exit code {status}"
    return f"{result} ({status})"


def forget_exits(node: Node, names: Sequence[str]) -> None:
    """Drop the records of services that were stopped on purpose."""
    for name in names:
        for suffix in ("json", "exits"):
            (node.run_dir / f"{name}.{suffix}").unlink(missing_ok=True)
