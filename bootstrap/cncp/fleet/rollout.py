"""`cncp up` for a cluster of several machines: a list of phases, ended when the engines answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from cncp.console import Console, Stopwatch
from cncp.errors import CncpError
from cncp.fleet import deploy
from cncp.fleet.controller_host import Controller
from cncp.fleet.model import Fleet
from cncp.fleet.phases.await_engines import AwaitEngines
from cncp.fleet.phases.base import Phase, Report, Run, Together
from cncp.fleet.phases.connect import Connect
from cncp.fleet.phases.install import InstallController, InstallHosts
from cncp.fleet.phases.open_tunnels import OpenTunnels
from cncp.fleet.phases.record import Record
from cncp.fleet.phases.revoke_tunnels import RevokeTunnels
from cncp.fleet.phases.start_controller import StartController
from cncp.fleet.phases.start_engines import StartEngines
from cncp.fleet.phases.survey import Survey
from cncp.ssh.pool import Crew, stopping

PHASES: tuple[Phase | Together, ...] = (
    Connect(),
    Survey(),
    Record(),
    InstallController(),
    Together(InstallHosts(), StartController()),
    OpenTunnels(),
    StartEngines(),
    RevokeTunnels(),
    AwaitEngines(),
)


def up(fleet: Fleet, here: Controller | None, console: Console, watch: Stopwatch | None = None) -> Report:
    """Bring all hosts to what the settings say, and wait until their engines answer.

    ``here`` is the controller, where that is on this machine; ``watch`` has taken the time of what was done before.
    Raises PreflightError where nothing can be gone on with; what fails on some hosts is in the answer.
    """
    head = fleet.inventory.controller
    specs = fleet.hosts if head.local else (head, *fleet.hosts)
    watch = watch or Stopwatch(console)
    report = Report(seconds=watch.seconds)
    if here is not None:
        report.controller = here
    with closing(Crew(specs, strict=fleet.strict)) as pool:
        take(PHASES, Run(fleet, console, watch, pool, deploy.code(), here), report)
    return report


def take(phases: tuple[Phase | Together, ...], run: Run, report: Report) -> None:
    """Take phases one after the other, and tell after each which hosts failed. Raises what a phase raises."""
    for step in phases:
        try:
            if isinstance(step, Together):
                _take_together(step, run, report)
            else:
                _take(step, run, report)
        except (CncpError, OSError):
            report.tell(run.console)
            raise
        report.tell(run.console)


def _take(phase: Phase, run: Run, report: Report) -> None:
    if not phase.wanted(run, report):
        return
    if title := phase.title(run, report):
        run.console.phase(title)
    with run.watch.phase(phase.name):
        phase.run(run, report)


def _take_together(step: Together, run: Run, report: Report) -> None:
    *others, last = step.phases
    with ThreadPoolExecutor(len(others)) as threads, stopping(threads):
        begun = [threads.submit(_take, phase, run, report) for phase in others]
        _take(last, run, report)
        for future in begun:
            future.result()
