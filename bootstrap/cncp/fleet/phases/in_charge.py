"""What is seen to on the machine in charge itself: its packages, that it runs nothing, what is kept."""

from __future__ import annotations

from typing import ClassVar

from cncp.files import make_home
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.machine.ops.apply import up
from cncp.machine.ops.lifecycle import remember
from cncp.machine.ops.main import bring_environment


class Environment(Phase):
    """What goes on from here does so with the packages that were asked for."""

    name: ClassVar = "environment"

    def wanted(self, run: Run, report: Report) -> bool:
        """Say yes."""
        return True

    def run(self, run: Run, report: Report) -> None:
        """Install; begin anew where that changed anything."""
        bring_environment(run.node, run.console, run.again)
        if run.node.services:
            run.console.note(f"service manager: {run.node.manager} ({run.node.why})")


class ThisMachine(Phase):
    """It has the command and runs nothing, where the controller is another machine's."""

    name: ClassVar = "this-machine"

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether that is so."""
        return run.here is None

    def run(self, run: Run, report: Report) -> None:
        """Converge it."""
        up(run.node, run.console)


class Remember(Phase):
    """What the command line said is kept: of hosts ``early``, for verbs on what was cut off need to know them.

    A machine by itself keeps only what could be done.
    """

    name: ClassVar = "remember"

    def __init__(self, *, early: bool) -> None:
        self._early = early

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether this is the time."""
        return run.fleet.inventory.named == self._early

    def run(self, run: Run, report: Report) -> None:
        """Write it into the home of the machine in charge."""
        asked = run.asked
        make_home(run.fleet.home)
        remember(run.node.account, run.fleet.home, asked.former, asked.flags, asked.file)
