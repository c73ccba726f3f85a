"""Where things are is kept before they are there: what is cut off can be taken away again."""

from __future__ import annotations

from typing import ClassVar

from cncp.fleet import membership, registry
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
        gone = registry.forgotten(run.fleet.inventory, home)
        # What is off, or was not concerned, is not forgotten.
        members = membership.names((*run.fleet.pools, *run.fleet.former)) if gone else set()
        for name in gone.keys() - members:
            run.console.warn(
                f"[{name}] is set up, but no longer in the file; take it down: cncp uninstall --limit {name}"
            )
