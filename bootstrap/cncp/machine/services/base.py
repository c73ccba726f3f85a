"""What every service manager offers, and what all of them share."""

from __future__ import annotations

import contextlib
import functools
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cncp import pidfile, remote
from cncp.errors import CncpError, PreflightError
from cncp.extensions import fault
from cncp.machine.node import Node
from cncp.machine.services import crontab, login_session, processes
from cncp.machine.services.kinds import split
from cncp.machine.services.processes import Ours
from cncp.surroundings import PYTHON

if TYPE_CHECKING:
    from cncp.machine.actor import Actor
    from cncp.machine.resources import Resource


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


class ServiceManager(ABC):
    """Keeps the services of one node running. Names are those of `cncp.machine.services.kinds`: "engine-0".

    Those of other packages are found by the entry points ``cncp.service_managers``; all of them are used with the
    account's rights, and none by root for another. What a subclass says of itself needs the standard library alone.
    """

    name: ClassVar[str]
    """What stands as ``service_manager``."""

    program: ClassVar[str] = ""
    """What has to be on the machine, "" where nothing has."""

    leave: ClassVar[str] = ""
    """The keys by which a service's terminal is left, "" where it has none and shows what it says as a log."""

    of_login: ClassVar[bool] = True
    """Whether services are begun by the login that starts them: with its limits, and maybe to end with it."""

    keeps_output: ClassVar[bool] = False
    """Whether it keeps what services print."""

    ends_all: ClassVar[bool] = False
    """Whether all that a service has begun ends with it, whatever ends it."""

    def __init__(self, node: Node, actor: Actor) -> None:
        self._node = node
        self._actor = actor

    @classmethod
    def insist(cls, node: Node) -> None:
        """Raise PreflightError where it cannot keep the services of a node. Changes nothing."""
        if cls.program and shutil.which(cls.program) is None:
            raise PreflightError(f"there is no {cls.program} on this machine", f"install the package {cls.program}")

    @classmethod
    def files(cls, node: Node, services: Mapping[str, str]) -> Iterable[Resource]:
        """Return what it needs on disk, all of it the account's own. ``services`` have their digests."""
        return ()

    @abstractmethod
    def states(self) -> dict[str, ServiceState]:
        """Return the state of every service that the manager knows or that is wanted."""

    @abstractmethod
    def keepers(self) -> set[int]:
        """Return the processes that keep services for this manager: what they have begun is looked after."""

    def reload(self) -> None:  # noqa: B027  # not all keep in mind what they have read
        """Take over changed files; running services go on."""

    @abstractmethod
    def start(self, services: Mapping[str, str]) -> None:
        """Start services (with their digests) without waiting for them; those that run with another one anew."""

    @abstractmethod
    def stop(self, names: Sequence[str]) -> None:
        """Stop services and return when they are gone."""

    def persist(self) -> str:
        """Make the services come back after a reboot. Return "" or why they will not."""
        started = Path(self._node.account.home) / ".local" / "bin" / "cncp"
        return self.mortal() or crontab.add(self._actor, self._node, [str(started), "restart", "--quiet"])

    def forget(self) -> None:
        """Undo ``persist`` and end what the manager itself keeps running."""
        crontab.remove(self._actor, self._node)

    def clean_up(self) -> None:  # noqa: B027  # most leave nothing
        """Forget files that are gone, and end the lingering that ``persist`` began.

        Where the manager itself has ended there is nothing to do.
        """

    def mortal(self) -> str:
        """Return why all ends with the session it was begun in, and after a colon what to do; "" where it does not."""
        return login_session.mortal(self._node)

    def attach_command(self, name: str) -> list[str]:
        """Return the command that shows a service's output as it comes."""
        return ["tail", "-F", str(self._node.log_dir / f"{name}.log")]


_OF_KIND = ("insist", "files")
_OF_MANAGER = (
    *("states", "keepers", "reload", "start", "stop"),
    *("persist", "forget", "clean_up", "mortal", "attach_command"),
)


def guarded(kind: type[ServiceManager]) -> type[ServiceManager]:
    """Return a kind of somebody else's, whose faults are told as such: what it raises is CncpError."""

    def held(asked: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except (CncpError, OSError):
                raise
            except Exception as error:
                problem = f"{asked} of the service manager {kind.name} ended with {type(error).__name__}: {error}"
                raise CncpError(problem, fault(kind.__module__.partition(".")[0])) from error

        return call

    # What is asked of a kind is bound to it already.
    of_kind = {asked: staticmethod(held(asked, getattr(kind, asked))) for asked in _OF_KIND}
    of_manager = {asked: held(asked, getattr(kind, asked)) for asked in _OF_MANAGER}
    return type(kind.__name__, (kind,), {**of_kind, **of_manager})


def command(node: Node, name: str, digest: str) -> list[str]:
    """Return the argument list of a service."""
    kind, instance = split(name)
    words = [kind, instance] if instance else [kind]
    shared = ["--node", f"{node.home}/node.json", "--digest", digest]
    return [str(node.python), *PYTHON, *remote.command("serve", *words, *shared)]


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
