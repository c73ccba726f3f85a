"""Pools that the file has no more: who still has members is told, and what others have left is taken away."""

from __future__ import annotations

from typing import ClassVar

from cncp.fleet import membership
from cncp.fleet.phases.base import Phase, Report, Run


class TellFormer(Phase):
    """Nothing is ended that the file has no more: somebody may still need it."""

    name: ClassVar = "tell-former"

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether there are any."""
        return bool(run.fleet.former)

    def run(self, run: Run, report: Report) -> None:
        """Look at each; one that cannot be asked is told as well, and looked at again by the next run."""
        seen = membership.observed(run.fleet.former)
        for finding in membership.of_former(run.fleet.former, seen):
            run.console.warn(f"{finding.what}; {finding.remedy}")
        membership.settled(run.fleet.former, seen, run.console.phase)
