"""Each verb is written once: the same over this machine by itself and over it and another, which are asked alike."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from cncp.config.inventory import ALONE, LOCAL, HostSpec, Inventory
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.fleet import registry
from cncp.fleet.any_machine import Machine, Said
from cncp.fleet.registry import Placed
from cncp.fleet.scene import Scene
from cncp.machine.ops.busy_engines import FORCE, WAIT, Manners
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.engine_states import EngineState, RollCall
from cncp.machine.ops.status import Status
from cncp.ssh.pool import Crew
from cncp.tasks import cluster, main_job, scenes
from tests.unit.source import syntax

FAR = HostSpec("far")
NAMED = Inventory((HostSpec(LOCAL), FAR))
PLACED = Placed("far", "/r", "/r", {}, (), FAR)


class Fake(Machine):
    """A machine that does nothing but note what it is asked, or fails at it."""

    def __init__(self, name: str, console: Console, asked: list[str], failure: CncpError | None = None) -> None:
        super().__init__(name, console)
        self.asked = asked
        self.failure = failure

    def _said(self, verb: str) -> Said:
        self.console.warn(f"at {verb}")
        self.asked.append(f"{self.name or 'here'} {verb}")
        if self.failure is not None:
            raise self.failure
        return [f"did {verb}"]

    def status(self) -> list[Status]:
        self._said("status")
        # What a machine without the controller knows of its engine is that it runs.
        state = "idle" if self.name == LOCAL else "running"
        return [Status("engine-0", self.name or "vm", None, 7, state, 1.0, 2**20, 0.5, 0, "", f"{self.name}-0")]

    def stopped(self) -> bool:
        return False

    def check(self) -> list[Finding]:
        self._said("check")
        return [Finding("no room", "make room", self.name or "vm")]

    def way(self) -> list[Finding]:
        return [Finding("no way", "open one", self.name)]

    def logs(self, names: str, lines: int) -> Said:
        return self._said(f"logs {names} {lines}")

    def follow(self, names: str, lines: int) -> None:
        self._said(f"follow {names} {lines}")

    def scale(self, count: str, manners: Manners, *, as_json: bool) -> Said:
        self._said(f"scale {count} {manners.wait:.0f} {manners.force}")
        return {"engines": [0]} if as_json else ["1 engine runs"]

    def restart(self, names: str, manners: Manners) -> Said:
        return self._said(f"restart {names} {manners.wait:.0f}")

    def down(self, manners: Manners) -> Said:
        return self._said(f"down {manners.wait:.0f}")

    def interrupt(self, names: str, *, everyone: bool) -> Said:
        return self._said(f"interrupt {names} {everyone}")

    def uninstall(self) -> Said:
        return self._said("uninstall")

    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        return RollCall(controller=patience == 0.0, engines=dict.fromkeys(uuids, EngineState(3, "busy", 5.0)))


Ask = Callable[..., tuple[int, list[str], list[str], list[str]]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return what runs a verb over a cluster of fakes: its exit code, what it printed, and what these were asked."""
    for name in (WAIT, FORCE):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CNCP_HOME", str(tmp_path))
    monkeypatch.setattr(Crew, "connect", lambda crew: crew.hosts.update({spec.name: spec for spec in crew.specs}))
    monkeypatch.setattr(Crew, "close", lambda _: None)
    monkeypatch.setattr("cncp.fleet.operations._clear", lambda *_: None)

    def run(verb: Any, inventory: Inventory, failures: dict[str, CncpError] | None = None, **options: Any) -> Any:
        asked: list[str] = []
        failing = failures or {}
        if inventory.named:
            registry.save(tmp_path, {"far": PLACED})
        monkeypatch.setattr(scenes, "inventory", lambda _: inventory)

        def here(scene: Scene) -> Machine:
            name = LOCAL if inventory.named else ""
            return Fake(name, scene._console_of(LOCAL), asked, failing.get(LOCAL))

        monkeypatch.setattr(Scene, "_here", here)
        far = failing.get("far")
        monkeypatch.setattr(Scene, "_there", lambda scene, _: Fake("far", scene._console_of("far"), asked, far))
        code = 0
        try:
            verb.body(Context(), **options)
        except Exit as end:
            code = end.code
            print(end.message or "")
        said = capsys.readouterr()
        registry.save(tmp_path, {})
        return code, said.out.splitlines(), said.err.splitlines(), asked

    return run


VERBS: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "logs": (cluster.logs, {"name": "engine-0", "lines": 5}, "logs engine-0 5", "did logs engine-0 5"),
    "follow": (cluster.logs, {"follow": True}, "follow  20", ""),
    "scale": (cluster.scale, {"count": "+1", "force": True}, "scale +1 0 True", "1 engine runs"),
    "restart": (cluster.restart, {"name": "0", "wait": 60}, "restart 0 60", "did restart 0 60"),
    "down": (cluster.down, {"wait": 9}, "down 9", "did down 9"),
    "uninstall": (cluster.uninstall, {}, "uninstall", "did uninstall"),
}
"""Verbs that every machine does for itself: how they are asked for, what a machine is asked, what it answers."""


@pytest.mark.parametrize("name", list(VERBS))
def test_a_verb_asks_every_machine_once(name: str, ask: Ask) -> None:
    """What it says is printed, after its name where it has one, and so is what it warns of."""
    verb, options, asked, answer = VERBS[name]
    lines = [answer] if answer else []
    assert ask(verb, ALONE, **options) == (0, lines, [f"warning: at {asked}"], [f"here {asked}"])
    code, out, err, were_asked = ask(verb, NAMED, **options)
    assert (code, sorted(were_asked)) == (0, [f"far {asked}", f"localhost {asked}"])
    assert sorted(out) == [f"[{host}] {line}" for host in ("far", "localhost") for line in lines]
    assert {f"warning: [{host}] at {asked}" for host in ("far", "localhost")} <= set(err)


@pytest.mark.parametrize("name", [name for name in VERBS if name != "follow"])
def test_a_failure_is_that_of_the_verb_or_of_one_host(name: str, ask: Ask) -> None:
    """A machine by itself fails with its own error and exit code; of several the others go on, and it is named."""
    verb, options, asked, answer = VERBS[name]
    error = CncpError("no room", "make room")
    code, out, _, _ = ask(verb, ALONE, {LOCAL: error}, **options)
    assert (code, out) == (1, ["error: no room", "hint: make room"])
    code, out, err, were_asked = ask(verb, NAMED, {LOCAL: error}, **options)
    assert (code, sorted(were_asked)) == (3, [f"far {asked}", f"localhost {asked}"])
    assert out[0] == f"[far] {answer}"
    assert "error: 1 of 2 hosts failed: localhost" in out
    assert "warning: [localhost] no room; make room" in err


@pytest.mark.parametrize("name", ["logs", "restart"])
def test_a_service_that_only_some_hosts_have(name: str, ask: Ask) -> None:
    """It is said of those that have none of its name; where no host has one, that is an error."""
    verb, options, _, answer = VERBS[name]
    lacking = UsageError("there is no service engine-0", "name another")
    code, out, err, _ = ask(verb, NAMED, {LOCAL: lacking}, **options)
    assert (code, out) == (0, [f"[far] {answer}"])
    assert "warning: [localhost] there is no service engine-0; name another" in err
    assert ask(verb, NAMED, {LOCAL: lacking, "far": lacking}, **options)[0] == 3
    assert ask(verb, ALONE, {LOCAL: lacking}, **options)[0] == 2


def test_engines_go_before_their_controller(ask: Ask) -> None:
    """They say goodbye to it; and the machine in charge, which has the command, goes last."""
    assert ask(cluster.down, NAMED)[3] == ["far down 0", "localhost down 0"]
    away = Inventory((HostSpec(LOCAL),), FAR)
    assert ask(cluster.down, away)[3] == ["localhost down 0", "far down 0"]
    assert ask(cluster.uninstall, Inventory((FAR,), FAR))[3] == ["far uninstall", "localhost uninstall"]


def test_status_is_one_table(ask: Ask) -> None:
    """What a machine cannot tell of its engines, the controller is asked."""
    code, out, _, _ = ask(cluster.status, ALONE)
    assert (code, [line.split()[:5] for line in out[1:2]]) == (0, [["engine-0", "vm", "7", "running", "1"]])
    code, out, _, _ = ask(cluster.status, NAMED)
    assert [line.split()[:5] for line in out[1:3]] == [
        ["engine-0", "localhost", "7", "idle", "1"],
        ["engine-0", "3", "far", "7", "busy"],
    ]
    assert out[3] == "2 engines: 1 idle, 1 busy · 2 hosts · 2 MB"
    rows = json.loads("".join(ask(cluster.status, NAMED, json=True)[1]))
    assert [(row["host"], row["id"], row["busy"]) for row in rows] == [("localhost", None, 0.0), ("far", 3, 5.0)]
    assert len(json.loads("".join(ask(cluster.status, ALONE, json=True)[1]))) == 1


def test_check_is_one_list(ask: Ask) -> None:
    """Its exit code says whether there is anything; with --from-hosts all but the controller's machine dial it."""
    finding = {"what": "no room", "remedy": "make room"}
    code, out, _, _ = ask(cluster.check, ALONE)
    assert (code, out[:2]) == (1, ["no room", "    -> make room"])
    code, out, _, _ = ask(cluster.check, NAMED)
    assert (code, out[:3:2]) == (1, ["[localhost] no room", "[far] no room"])
    found = json.loads("\n".join(ask(cluster.check, NAMED, json=True, from_hosts=True)[1][:-1]))
    assert found == [
        {**finding, "host": "localhost"},
        {**finding, "host": "far"},
        {"what": "no way", "remedy": "open one", "host": "far"},
    ]
    assert json.loads("\n".join(ask(cluster.check, ALONE, json=True)[1][:-1])) == [{**finding, "host": "vm"}]


def test_scale_as_json(ask: Ask) -> None:
    """The document of a machine by itself, or one by the name of each."""
    assert json.loads("".join(ask(cluster.scale, ALONE, count="1", json=True)[1])) == {"engines": [0]}
    both = json.loads("".join(ask(cluster.scale, NAMED, count="1", json=True)[1]))
    assert both == {"localhost": {"engines": [0]}, "far": {"engines": [0]}}


@pytest.mark.parametrize("inventory", [ALONE, NAMED, Inventory((FAR,), FAR)], ids=["alone", "near", "far"])
def test_interrupt_asks_the_controllers_machine(inventory: Inventory, ask: Ask) -> None:
    """Wherever it is; and its error, with its exit code, is that of the verb."""
    code, out, _, asked = ask(cluster.interrupt, inventory, name="engine-0")
    head = "far" if inventory.controller == FAR else LOCAL if inventory.named else "here"
    assert (code, out, asked) == (0, ["did interrupt engine-0 False"], [f"{head} interrupt engine-0 False"])
    needs = UsageError("interrupt needs an engine", "name one")
    assert ask(cluster.interrupt, inventory, {LOCAL: needs, "far": needs})[0] == 2


@pytest.mark.parametrize("module", [cluster, main_job])
def test_no_verb_asks_how_many_machines_there_are(module: Any) -> None:
    """What is different for a machine by itself is the inventory's, the scene's and the report's to know."""
    tree = syntax(Path(module.__file__).read_text())
    words = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}
    assert not words & {"named", "LOCAL", "ALONE", "len", "LocalMachine", "RemoteMachine", "Crew"}
