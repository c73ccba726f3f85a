"""Where things are is kept before they are there: what is cut off can be taken away again."""

from __future__ import annotations

from typing import ClassVar

from cncp.fleet import registry
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.fleet.registry import Placed


class Record(Phase):
    """The places of all hosts that can be gone on with are kept; hosts that the file no longer names are told."""

    name: ClassVar = "record"

    def run(self, run: Run, report: Report) -> None:
        """Keep them in the home of the machine in charge."""
        home = run.fleet.home
        now = {name: Placed.of(host) for name, host in report.surveyed.items()}
        registry.save(home, {**registry.load(home), **now})
        for name in registry.forgotten(run.fleet.inventory, home):
            run.console.warn(
                f"[{name}] is set up, but no longer in the file; take it down: cncp uninstall --limit {name}"
            )
