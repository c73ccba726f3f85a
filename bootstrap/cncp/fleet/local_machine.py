"""The machine of a cluster that this runs on: asked in this process."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from cncp.config.inventory import LOCAL, HostSpec
from cncp.console import Console
from cncp.fleet.any_machine import Machine, Said
from cncp.machine.actor import Actor
from cncp.machine.node import Node, installed
from cncp.machine.ops import doctor, engine_states, interrupt, lifecycle, summary, uninstall
from cncp.machine.ops import status as states
from cncp.machine.ops.apply import report
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.engine_states import RollCall
from cncp.machine.ops.status import Status
from cncp.machine.services import ServiceManager, logs, service_manager
from cncp.machine.services.base import running_process
from cncp.process import become
from cncp.ssh.connection import FOREVER, Local


class LocalMachine(Machine):
    """The machine that this runs on; ``home`` is CNCP_HOME."""

    def __init__(self, name: str, home: Path, console: Console) -> None:
        super().__init__(name, console)
        self.home = home

    def _node(self) -> Node:
        return installed(self.home)

    def _looked_at(self) -> tuple[Node, ServiceManager]:
        node = self._node()
        return node, service_manager(node, Actor(node.account))

    def status(self) -> list[Status]:
        """Ask the service manager, the processes and, where it is here, the hub."""
        return [replace(row, host=self.name or row.host) for row in states.status(*self._looked_at())]

    def stopped(self) -> bool:
        """Look for the records that services leave which were not stopped."""
        node = self._node()
        return not any(running_process(node, name).pid for name in node.services)

    def check(self) -> list[Finding]:
        """Examine it."""
        node, manager = self._looked_at()
        return [replace(finding, host=self.name or node.host) for finding in doctor.examine(node, manager)]

    def logs(self, names: str, lines: int) -> Said:
        """Read them."""
        node = self._node()
        return [f"[{name}] {line}" for name in lifecycle.chosen(node, names) for line in logs.tail(node, name, lines)]

    def follow(self, names: str, lines: int) -> None:
        """Have a program show them, which takes our place where there are no lines of others between its own."""
        node = self._node()
        words = logs.following(node, lifecycle.chosen(node, names), lines)
        if not self.name:
            become(words)
        local = Local(HostSpec(LOCAL))
        local.run(words, timeout=FOREVER, check=False, out=lambda line: self.console.say(f"[{self.name}] {line}"))

    def scale(self, count: str, manners: Manners, *, as_json: bool) -> Said:
        """Do it."""
        node = self._node()
        wanted = lifecycle.engines_after(node, count)
        outcome = lifecycle.scale(node, wanted, os.environ, self.console, manners)
        node = self._node()
        made = report(node, outcome)
        return summary.document(made) if as_json else summary.lines(node, made)

    def restart(self, names: str, manners: Manners) -> Said:
        """Do it, and wait until all engines answer."""
        node = self._node()
        chosen = lifecycle.chosen(node, names)
        lifecycle.part(node, chosen, "restart", manners, self.console)
        return [summary.count(node, len(lifecycle.restart(node, chosen, self.console).answering))]

    def down(self, manners: Manners) -> Said:
        """Do it."""
        node = self._node()
        lifecycle.part(node, node.services, "down", manners, self.console)
        return ["stopped" if lifecycle.down(node, self.console) else "nothing was running"]

    def interrupt(self, names: str, *, everyone: bool) -> Said:
        """Do it by the hub."""
        return [done.line() for done in interrupt.interrupt(self._node(), names, everyone=everyone)]

    def uninstall(self) -> Said:
        """Do it."""
        left = uninstall.of_home(self.home, self.console)
        return [*(f"left, because it is not ours: {path}" for path in left), "removed"]

    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        """Ask the hub."""
        return engine_states.roll_call(self._node(), uuids, patience)
