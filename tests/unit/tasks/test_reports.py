"""What a user is told at the end of `up`: of a machine by itself a line, of several a table and a line of all."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.config.inventory import ALONE, LOCAL, HostSpec, Inventory
from cncp.console import Console
from cncp.errors import CncpError
from cncp.fleet.model import Fleet
from cncp.fleet.phases.base import Report
from cncp.machine.ops import summary
from cncp.machine.ops.apply import MachineReport
from cncp.machine.ops.engine_states import EngineState
from cncp.ssh.pool import SomeHostsFailed
from cncp.tasks import rollout_report

SAID = MachineReport(True, (0, 1), "cncp", "/p", "user", "systemd", ("a", "b"), (0, 1), "none", seconds={"plan": 1})


def told(inventory: Inventory, *, as_json: bool = False, **of_report: Any) -> list[str]:
    """Return what is printed of a run in which these hosts were brought up."""
    done = Report(
        limit=inventory.everyone,
        host_seconds=dict.fromkeys(("far", LOCAL), 1.0),
        seconds={"environment": 0.5},
        **of_report,
    )
    node: Any = SimpleNamespace(engines=2, controller=True)
    done.node = node
    out = io.StringIO()
    fleet = Fleet(inventory, {}, Path("/h"), inventory.everyone)
    failed = []
    try:
        rollout_report.report(fleet, done, Console(out), following=["next: x"], as_json=as_json)
    except SomeHostsFailed as error:
        failed = [error.message]
    return [*out.getvalue().splitlines(), *failed]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass."""
    monkeypatch.setattr(summary, "elapsed", lambda: 2.0)


def test_of_a_machine_by_itself() -> None:
    """Its own report, with the time of all that was done, and what may follow."""
    engines = {uuid: EngineState(0, "idle") for uuid in SAID.uuids}
    lines = told(ALONE, hosts={LOCAL: SAID}, engines=engines)
    assert lines == ["2/2 engines answer · profile cncp · systemd (user) · 2.0 s", "next: x"]
    timed = replace(SAID, seconds={"plan": 1})
    made = json.loads("".join(told(ALONE, as_json=True, hosts={LOCAL: timed}, engines=engines)))
    assert made == {
        **SAID.to_json(),
        "elapsed": 2.0,
        "seconds": {"environment": 0.5, "plan": 1},
    }


def test_of_several() -> None:
    """A line each, engines that answer the controller, and what failed."""
    hosts = Inventory((HostSpec(LOCAL), HostSpec("far"), HostSpec("lost")))
    far = MachineReport(True, (0,), "cncp", "/p", "user", "systemd", ("c",))
    engines = {uuid: EngineState(0, "idle") for uuid in (*SAID.uuids, "c")}
    failures = {"lost": CncpError("no answer", "look at it")}
    came: dict[str, Any] = {"hosts": {LOCAL: SAID, "far": far}, "engines": engines, "failures": failures}
    *lines, failed = told(hosts, **came)
    assert failed == "1 of 3 hosts failed: lost"
    assert [line.split()[:2] for line in lines[1:4]] == [["localhost", "2/2"], ["far", "1/1"], ["lost", "-"]]
    assert lines[4:] == ["3/3 engines answer · profile cncp · 2 hosts · 2.0 s", "next: x"]
    made = json.loads("".join(told(hosts, as_json=True, **came)[:-1]))
    assert (made["answering"], made["engines"], list(made["hosts"])) == (3, 3, ["far", "localhost"])
    assert made["failures"] == {"lost": {"what": "no answer", "hint": "look at it"}}
