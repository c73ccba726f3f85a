"""`cncp up` on one machine or many: a list of phases, ended when the engines answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from cncp.config.asked import Request
from cncp.console import Console, Stopwatch
from cncp.errors import CncpError
from cncp.fleet import registry
from cncp.fleet.controller_host import Here
from cncp.fleet.model import Fleet
from cncp.fleet.phases.acquire import Acquire
from cncp.fleet.phases.await_engines import AwaitEngines
from cncp.fleet.phases.await_members import AwaitMembers
from cncp.fleet.phases.base import Phase, Report, Run, Together
from cncp.fleet.phases.connect import Connect
from cncp.fleet.phases.in_charge import Environment, Remember, ThisMachine
from cncp.fleet.phases.install import InstallController, InstallHosts
from cncp.fleet.phases.open_tunnels import OpenTunnels
from cncp.fleet.phases.publish import Publish
from cncp.fleet.phases.record import Record
from cncp.fleet.phases.revoke_tunnels import RevokeTunnels
from cncp.fleet.phases.start_controller import StartController
from cncp.fleet.phases.start_engines import StartEngines
from cncp.fleet.phases.survey import Survey
from cncp.fleet.phases.tell_former import TellFormer
from cncp.machine.node import Node
from cncp.machine.ops import steps
from cncp.machine.ops.apply import describe
from cncp.ssh.pool import Crew, stopping

HOSTS: tuple[Phase | Together, ...] = (
    Acquire(),
    Connect(),
    Survey(),
    Record(),
    InstallController(),
    Together(InstallHosts(), StartController()),
    Publish(),
    OpenTunnels(),
    StartEngines(),
    RevokeTunnels(),
    AwaitEngines(),
    AwaitMembers(),
    TellFormer(),
)
"""What is done on machines that are to have a cluster's services."""

PHASES = (Environment(), ThisMachine(), Remember(early=True), *HOSTS, Remember(early=False))


def up(
    asked: Request,
    fleet: Fleet,
    console: Console,
    again: Sequence[str] | None = (),
    *,
    phases: Sequence[Phase | Together] = PHASES,
    node: Node | None = None,
) -> Report:
    """Bring all machines to what the settings say, and wait until their engines answer.

    ``again`` is as for ``machine.ops.main.bring_environment``, ``node`` this machine, where it is not to be what was
    asked. Raises CncpError where nothing can be gone on with; what fails on some hosts is in the answer.
    """
    node = node or describe(asked)
    here = Here(node, console) if fleet.inventory.controller.local else None
    watch = Stopwatch(console)
    report = Report(limit=fleet.limit, seconds=watch.seconds)
    report.node = node
    report.first = not (registry.load(fleet.home) if fleet.inventory.named else steps.former(fleet.home))
    if here is not None:
        report.controller = here
    with closing(Crew(fleet.reached, strict=fleet.strict)) as pool:
        take(phases, Run(asked, node, fleet, console, watch, pool, here, again), report)
    return report


def take(phases: Sequence[Phase | Together], run: Run, report: Report) -> None:
    """Take phases one after the other, and tell after each which hosts failed. Raises what a phase raises."""
    for step in phases:
        try:
            if isinstance(step, Together):
                _take_together(step, run, report)
            else:
                run = _take(step, run, report)
        except (CncpError, OSError):
            report.tell(run.console)
            raise
        report.tell(run.console)


def _take(phase: Phase, run: Run, report: Report) -> Run:
    """Take a phase; return what those after it go by."""
    if not phase.wanted(run, report):
        return run
    if title := phase.title(run, report):
        run.console.phase(title)
    with run.watch.phase(phase.name):
        return phase.run(run, report) or run


def _take_together(step: Together, run: Run, report: Report) -> None:
    *others, last = step.phases
    with ThreadPoolExecutor(len(others)) as threads, stopping(threads):
        begun = [threads.submit(_take, phase, run, report) for phase in others]
        _take(last, run, report)
        for future in begun:
            future.result()
