"""tmux and screen: every service in a named session of its own, to attach to.

Neither restarts anything, so each session runs ``libexec/keep``, which does.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from operator import not_
from typing import ClassVar

from cncp.errors import CncpError
from cncp.machine.services.base import (
    ServiceManager,
    ServiceState,
    command,
    exits,
    forget_exits,
    running_process,
    sweep,
)
from cncp.machine.services.kinds import known
from cncp.machine.services.login_session import begin
from cncp.machine.services.processes import as_recorded, ours
from cncp.waiting import wait_until


class Sessions(ServiceManager):
    """Services as sessions of a terminal multiplexer; what these differ in is the subclass's."""

    @abstractmethod
    def sessions(self) -> dict[str, int]:
        """Return the pid of the first process in every session by its name."""

    @abstractmethod
    def open(self, session: str, argv: Sequence[str]) -> None:
        """Run a command in a new detached session."""

    @abstractmethod
    def attach_to(self, session: str) -> list[str]:
        """Return the command that attaches to a session."""

    def _session(self, name: str) -> str:
        return f"{self._node.prefix}-{name}"

    def _open(self) -> dict[str, int]:
        """Return the pids of ``keep`` by the names of our services."""
        prefix = f"{self._node.prefix}-"
        ours = (
            (name.removeprefix(prefix), pid) for name, pid in sorted(self.sessions().items()) if name.startswith(prefix)
        )
        return {name: pid for name, pid in ours if known(name)}

    def states(self) -> dict[str, ServiceState]:
        """Ask the multiplexer for sessions, and the services' own records for the rest."""
        found = {}
        begun = {service.parent: service.pid for service in ours(self._node).services}
        for name, keep in self._open().items():
            process = as_recorded(self._node, begun.get(keep, 0))
            ended, last = exits(self._node, name)
            found[name] = ServiceState(name, True, process.pid, ended, last, process.digest)
        return found

    def keepers(self) -> set[int]:
        """Return the ``keep`` of every session."""
        return set(self._open().values())

    def start(self, services: Mapping[str, str]) -> None:
        """Open sessions; those that are open are closed first."""
        self.stop([name for name in services if name in self._open()])
        for name, digest in services.items():
            keep = [f"{self._node.home}/libexec/keep", f"{self._node.run_dir}/{name}.exits"]
            self.open(self._session(name), [*keep, *command(self._node, name, digest)])

    def stop(self, names: Sequence[str]) -> None:
        """End ``keep``, which ends its service; the session goes with it."""
        opened = {name: pid for name, pid in self._open().items() if name in names}
        services = {name: running_process(self._node, name).pid for name in opened}
        for pid in opened.values():
            _signal(pid, signal.SIGTERM)
        for name in wait_until(lambda: self._open().keys() & set(names), 10, enough=not_):
            _signal(opened[name], signal.SIGKILL)
            _signal(services[name], signal.SIGKILL)
        sweep(self._node, names)
        forget_exits(self._node, names)

    def attach_command(self, name: str) -> list[str]:
        """Return the command that attaches to a service's session."""
        if name not in self._open():
            raise CncpError(f"{name} has no session", "look at: cncp status")
        return self.attach_to(self._session(name))


class TmuxSessions(Sessions):
    """tmux, with a server of our own, so that the user's own sessions and settings stay apart."""

    name: ClassVar = "tmux"
    program: ClassVar = "tmux"
    leave: ClassVar = "Ctrl-b d"

    @property
    def _base(self) -> list[str]:
        return ["tmux", "-L", self._node.prefix, "-f", "/dev/null"]

    def sessions(self) -> dict[str, int]:
        """Return session names and the pids of their panes."""
        listed = self._actor.run([*self._base, "list-panes", "-a", "-F", "#{session_name} #{pane_pid}"], check=False)
        return {name: int(pid) for name, pid in (line.split() for line in listed.stdout.splitlines())}

    def open(self, session: str, argv: Sequence[str]) -> None:
        """Run a command in a new detached session."""
        self._actor.run([*begin(self._node), *self._base, "new-session", "-d", "-s", session, *argv])

    def attach_to(self, session: str) -> list[str]:
        """Return the command that attaches to a session."""
        return [*self._base, "attach", "-t", session]


class ScreenSessions(Sessions):
    """GNU screen."""

    name: ClassVar = "screen"
    program: ClassVar = "screen"
    leave: ClassVar = "Ctrl-a d"

    def sessions(self) -> dict[str, int]:
        """Return session names and the pids of the programs in them."""
        # Settings are held against this before there is a virtualenv.
        import psutil

        listed = self._actor.run(["screen", "-ls"], check=False)
        found = {}
        for pid, name in re.findall(r"^\s+(\d+)\.(\S+)\s", listed.stdout, re.MULTILINE):
            try:
                children = psutil.Process(int(pid)).children()
            except psutil.Error:
                continue
            found[name] = children[0].pid if children else int(pid)
        return found

    def open(self, session: str, argv: Sequence[str]) -> None:
        """Run a command in a new detached session."""
        self._actor.run([*begin(self._node), "screen", "-c", "/dev/null", "-dmS", session, *argv])

    def attach_to(self, session: str) -> list[str]:
        """Return the command that attaches to a session."""
        # -x rather than -r: somebody else may be attached as well.
        return ["screen", "-x", session]


def _signal(pid: int, number: signal.Signals) -> None:
    if pid > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
