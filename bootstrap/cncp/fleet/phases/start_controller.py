"""The controller's machine is brought up, while other hosts are installed."""

from __future__ import annotations

import time
from typing import ClassVar

from cncp.fleet.phases.base import Phase, Report, Run
from cncp.machine.ops.engine_states import EngineState


class StartController(Phase):
    """The main job runs on the controller's machine; what its engines connect by is known then."""

    name: ClassVar = "start-controller"

    def wanted(self, run: Run, report: Report) -> bool:
        """Say yes."""
        return True

    def run(self, run: Run, report: Report) -> None:
        """Run it and, where others need it, read the engines' connection file."""
        began = time.monotonic()
        done = report.hosts[run.head.name] = report.controller.up()
        report.host_seconds[run.head.name] = time.monotonic() - began
        # It ends when they answer; where others have engines as well, the controller is asked about all of them.
        pairs = zip(done.uuids, done.engines, strict=True)
        report.engines = {uuid: EngineState(number, "idle") for uuid, number in pairs}
        if run.fleet.inventory.named:
            report.secret = report.controller.engine_file()
