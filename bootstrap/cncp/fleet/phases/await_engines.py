"""Waiting until the engines of all hosts answer; those that stay silent are started anew once.

On the controller's own machine `machine.ops.readiness.wait` does the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cncp.console import Console
from cncp.fleet import deploy
from cncp.fleet.controller_host import Controller
from cncp.fleet.model import Done, Surveyed
from cncp.fleet.registry import Placed
from cncp.machine.ops.readiness import REGISTERS
from cncp.machine.services.startup import LOOK, START_TIMEOUT, WORK
from cncp.ssh import answers
from cncp.ssh.pool import at_once

_TIMEOUT = 300.0  # s for a verb on a host


def await_engines(
    controller: Controller,
    started: Mapping[str, Surveyed],
    start: Callable[[Surveyed], dict[str, Any]],
    done: Done,
    console: Console,
) -> None:
    """Note in ``done`` which engines answer.

    ``start`` gives a host its connection file and runs its main job, as it has for those that are ``started``;
    it does so again where engines did not register. Raises HostError where the controller cannot be asked.
    """
    seen = _ask(controller, done, REGISTERS)
    if not any(done.silent(name) for name in started):
        return
    lost = {}
    if seen["controller"]:
        silent = {name: one for name, one in started.items() if done.unknown(name)}
        found = at_once(silent, lambda one: _idle(one, done.unknown(one.name))).results
        lost = {name: numbers for name, numbers in found.items() if numbers}

    def again(one: Surveyed) -> dict[str, Any]:
        names = ",".join(f"engine-{number}" for number in lost[one.name])
        _run(one, Placed.of(one).command("restart", "--quiet", "--force", f"--name={names}"))
        return {**start(one), "changed": True}

    for name, numbers in lost.items():
        named = ", ".join(f"engine-{number}" for number in numbers)
        console.phase(f"[{name}] restarting {named}: not registered with the controller after {REGISTERS:.0f} s")
    outcome = at_once({name: started[name] for name in lost}, again)
    done.reports.update(outcome.results)
    done.fail(outcome.failures, console)
    _ask(controller, done, START_TIMEOUT if lost else START_TIMEOUT - REGISTERS)


def _ask(controller: Controller, done: Done, patience: float) -> dict[str, Any]:
    uuids = [uuid for report in done.reports.values() for uuid in report["uuids"]]
    seen = controller.roll_call(uuids, patience)
    done.engines = seen["engines"]
    return seen


def _idle(one: Surveyed, numbers: Collection[int]) -> list[int]:
    """Return which of a host's engines have had the time to register, and do nothing now."""
    before = _status(one)
    time.sleep(LOOK)
    now = _status(one)
    names = {number: f"engine-{number}" for number in numbers}
    return [number for number, name in names.items() if name in before and _stuck(before[name], now.get(name, {}))]


def _stuck(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether it is one process, old enough, that has used the processor as little as one that waits."""
    if not before["pid"] or now.get("pid") != before["pid"]:
        return False
    worked, passed = now["cpu"] - before["cpu"], now["uptime"] - before["uptime"]
    return bool(now["uptime"] > REGISTERS and worked <= WORK * passed)


def _status(one: Surveyed) -> dict[str, dict[str, Any]]:
    said = _run(one, Placed.of(one).remote("cncp", "status", "--json"))
    rows = answers.read(one.name, answers.of_remote(one.name, said), answers.STATUS)
    return {row["name"]: row for row in rows}


def _run(one: Surveyed, argv: Sequence[str]) -> bytes:
    result = one.host.run(argv, timeout=_TIMEOUT, check=False)
    if not result.ok:
        raise deploy.failure(one.name, result.stderr, result.status)
    return result.stdout
