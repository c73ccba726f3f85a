"""Logging in to all hosts: a module of its own, as each phase is one."""

from __future__ import annotations

from typing import ClassVar

from cncp.errors import plural
from cncp.fleet.phases.base import Phase, Report, Run


class Connect(Phase):
    """All hosts are logged in to at the same time; those that cannot be are told with what the survey finds."""

    name: ClassVar = "connect"

    def title(self, run: Run, report: Report) -> str:
        """Name how many; where it is this machine alone there is none."""
        return f"connecting to {plural(len(run.pool.specs), 'host')}" if run.pool.specs else ""

    def run(self, run: Run, report: Report) -> None:
        """Log in."""
        run.pool.connect()
