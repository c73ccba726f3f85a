"""Waiting until the engines of all hosts answer; those that stay silent are started anew once.

On the controller's own machine `machine.ops.readiness.wait` does the same.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

from cncp.fleet.model import Surveyed
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.fleet.phases.start_engines import Start
from cncp.fleet.registry import Placed
from cncp.fleet.remote_machine import RemoteMachine
from cncp.machine.ops.apply import MachineReport
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.readiness import REGISTERS
from cncp.machine.ops.status import Status
from cncp.machine.services import logs
from cncp.machine.services.startup import LOOK, START_TIMEOUT, WORK
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import at_once


class AwaitEngines(Phase):
    """The controller is asked until all engines answer it, or have had their time for that."""

    name: ClassVar = "await-engines"

    def title(self, run: Run, report: Report) -> str:
        """Say what is waited for."""
        return "waiting for answers"

    def run(self, run: Run, report: Report) -> None:
        """Note which engines answer, and what is found in the logs of those that do not."""
        try:
            _await(run, report)
        except HostError as error:
            report.fail({run.head.name: error})
        silent = _machines(run, {name: host for name, host in report.surveyed.items() if report.silent(name)})
        report.endings.update(at_once(silent, lambda machine: _ending(machine, report.silent(machine.name)[0])).results)


def _machines(run: Run, hosts: Mapping[str, Surveyed]) -> dict[str, RemoteMachine]:
    return {
        name: RemoteMachine(Placed.of(host), host.host, run.console.of(f"[{name}] ")) for name, host in hosts.items()
    }


def _await(run: Run, report: Report) -> None:
    """Wait for all engines; start those anew that have not registered. Raises HostError."""
    registered = _ask(report, REGISTERS)
    started = {name: report.surveyed[name] for name in report.hosts if name != run.head.name}
    if not any(report.silent(name) for name in started):
        return
    machines = _machines(run, started)
    lost = _lost(report, machines) if registered else {}
    for name, numbers in lost.items():
        named = ", ".join(f"engine-{number}" for number in numbers)
        run.console.phase(f"[{name}] restarting {named}: not registered with the controller after {REGISTERS:.0f} s")
    start = Start(run, report)

    def again(host: Surveyed) -> MachineReport:
        """Start engines anew, with the connection file that works there now."""
        names = ",".join(f"engine-{number}" for number in lost[host.name])
        machines[host.name].restart(names, Manners(force=True))
        return replace(start(host), changed=True)

    outcome = at_once({name: started[name] for name in lost}, again)
    report.hosts.update(outcome.results)
    report.fail(outcome.failures)
    # Not once this is over: what comes now takes a while.
    report.tell(run.console)
    _ask(report, START_TIMEOUT if lost else START_TIMEOUT - REGISTERS)


def _ask(report: Report, patience: float) -> bool:
    """Note which engines the controller knows; tell whether it answers."""
    uuids = [uuid for host in report.hosts.values() for uuid in host.uuids]
    seen = report.controller.roll_call(uuids, patience)
    report.engines = seen.engines
    return seen.controller


def _lost(report: Report, machines: Mapping[str, RemoteMachine]) -> dict[str, list[int]]:
    """Return the engines, by host, that the controller does not know although they had the time to tell it."""
    unknown = {name: machine for name, machine in machines.items() if report.unknown(name)}
    found = at_once(unknown, lambda machine: _idle(machine, report.unknown(machine.name))).results
    return {name: numbers for name, numbers in found.items() if numbers}


def _ending(machine: RemoteMachine, number: int) -> str:
    """Return what the log of a host's engine ends with, to be added to an error."""
    name = f"engine-{number}"
    return logs.ends_with([line.removeprefix(f"[{name}] ") for line in machine.logs(name, logs.TAIL)])


def _idle(machine: RemoteMachine, numbers: Collection[int]) -> list[int]:
    """Return which of a host's engines have had the time to register, and do nothing now."""
    before = _status(machine)
    time.sleep(LOOK)
    now = _status(machine)
    names = {number: f"engine-{number}" for number in numbers}
    return [number for number, name in names.items() if name in before and _stuck(before[name], now.get(name))]


def _stuck(before: Status, now: Status | None) -> bool:
    """Tell whether it is one process, old enough, that has used the processor as little as one that waits."""
    if now is None or not before.pid or now.pid != before.pid:
        return False
    return now.uptime > REGISTERS and now.cpu - before.cpu <= WORK * (now.uptime - before.uptime)


def _status(machine: RemoteMachine) -> dict[str, Status]:
    return {row.name: row for row in machine.status()}
