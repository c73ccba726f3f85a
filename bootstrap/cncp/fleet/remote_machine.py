"""Another machine of a cluster: its own cncp is asked, over ssh."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cncp.console import Console
from cncp.fleet import deploy
from cncp.fleet.any_machine import Machine, Said
from cncp.fleet.controller_host import remote_roll_call
from cncp.fleet.model import DIAL
from cncp.fleet.registry import Placed
from cncp.ipp.connection_file import EngineFile
from cncp.machine.connection_files import delivered
from cncp.machine.ops import busy_engines
from cncp.machine.ops.apply import MachineReport
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.engine_states import RollCall
from cncp.machine.ops.status import Status
from cncp.process import Completed
from cncp.ssh import answers
from cncp.ssh.command import Line
from cncp.ssh.connection import FOREVER, Host
from cncp.ssh.rpc import dial

T = TypeVar("T")

_TIMEOUT = 300.0  # s for a verb on a host, beside what it waits for engines
_NOTHING_THERE = "there is no cluster in"
_NO_PROGRAM = 127  # what a shell exits with: POSIX.1-2017, 2.8.2


class RemoteMachine(Machine):
    """A host that was set up from here. Verbs in words are understood by hosts with an older cncp as well."""

    def __init__(self, placed: Placed, host: Host, console: Console) -> None:
        super().__init__(placed.name, console)
        self.placed = placed
        self.host = host

    def _asked(self, *words: str, wait: float = 0.0) -> Completed:
        reply = self.host.run(self.placed.command(*words), timeout=_TIMEOUT + wait, check=False)
        for line in reply.stderr.splitlines():
            if line.startswith("warning: "):
                self.console.warn(line.removeprefix("warning: "))
        return reply

    def _lines(self, *words: str, wait: float = 0.0) -> list[str]:
        """Return what a verb prints. Raises HostError with its own words where it fails."""
        reply = self._asked(*words, wait=wait)
        if not reply.ok:
            raise deploy.failure(self.name, reply.stderr, reply.status)
        return reply.stdout.splitlines()

    def answer(
        self, kind: type[T], *words: str, wait: float = 0.0, findings: bool = False, line: Line | None = None
    ) -> T:
        """Return what a verb answers as JSON; one with ``findings`` may exit as if it had failed. Raises HostError."""
        argv = self.placed.remote("cncp", *words, "--json")
        reply = self.host.run(argv, timeout=_TIMEOUT + wait, check=False, line=line)
        if not (reply.ok or (findings and reply.output)):
            raise deploy.failure(self.name, reply.stderr, reply.status)
        return answers.read_remote(self.name, reply.output, kind)

    def status(self) -> list[Status]:
        """Ask it."""
        return [replace(row, host=self.name) for row in self.answer(tuple[Status, ...], "status")]

    def check(self) -> list[Finding]:
        """Ask it."""
        found = self.answer(tuple[Finding, ...], "check", findings=True)
        return [replace(finding, host=self.name) for finding in found]

    def way(self) -> list[Finding]:
        """Dial every port of the controller from there, at the address its engines use."""
        secret = answers.read(self.name, self.host.get(str(delivered(Path(self.placed.home)))), EngineFile)
        address = secret.location
        answered = dial(self.host, [address], secret.ports, DIAL)[address]
        closed = [port for port in secret.ports if port not in answered]
        if not closed:
            return []
        problem = (
            f"port {', '.join(map(str, closed))} of the controller at {address} does not answer it"
            if answered
            else f"no port of the controller answers it at {address}"
        )
        return [Finding(problem, "open the ports to it: cncp firewall prints the rules", self.name)]

    def logs(self, names: str, lines: int) -> list[str]:
        """Ask it."""
        return self._lines("logs", f"--lines={lines}", *_named(names))

    def follow(self, names: str, lines: int) -> None:
        """Have it go on showing them."""
        self.host.run(
            self.placed.command("logs", f"--lines={lines}", *_named(names), "--follow"),
            timeout=FOREVER,
            check=False,
            out=lambda line: self.console.say(f"[{self.name}] {line}"),
            line=self.console.warn,
        )

    def scale(self, count: str, manners: Manners, *, as_json: bool) -> Said:
        """Have it do so."""
        words = ("scale", count, *busy_engines.words(manners))
        if as_json:
            return self.answer(MachineReport, *words, wait=manners.wait).to_json()
        return self._lines(*words, wait=manners.wait)

    def restart(self, names: str, manners: Manners) -> Said:
        """Have it do so."""
        return self._lines("restart", *_named(names), *busy_engines.words(manners), wait=manners.wait)

    def down(self, manners: Manners) -> Said:
        """Have it do so."""
        return self._lines("down", "--quiet", *busy_engines.words(manners), wait=manners.wait)

    def interrupt(self, names: str, *, everyone: bool) -> Said:
        """Have it do so."""
        return self._lines("interrupt", *_named(names), *(["--all"] if everyone else []))

    def uninstall(self) -> Said:
        """Have it do so; what was cut off before anything ran has nothing to uninstall but its folder."""
        reply = self._asked("uninstall")
        if reply.ok or _NOTHING_THERE in reply.stderr or reply.status == _NO_PROGRAM:
            return reply.stdout.splitlines()
        raise deploy.failure(self.name, reply.stderr, reply.status)

    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        """Have it ask its hub."""
        return remote_roll_call(self.placed, self.host, uuids, patience)


def _named(names: str) -> list[str]:
    return [f"--name={names}"] if names else []
