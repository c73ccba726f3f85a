"""The controller's machine is brought up, while the other hosts are installed."""

from __future__ import annotations

import time
from typing import ClassVar

from cncp.fleet.phases.base import Phase, Report, Run


class StartController(Phase):
    """The main job runs on the controller's machine; what its engines connect by is known then."""

    name: ClassVar = "start-controller"

    def run(self, run: Run, report: Report) -> None:
        """Run it and read the engines' connection file."""
        began = time.monotonic()
        report.hosts[run.head.name] = report.controller.up()
        report.host_seconds[run.head.name] = time.monotonic() - began
        report.secret = report.controller.engine_file()
