"""What becomes of engines at work where a change would end them: the same for every verb."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.install import environment
from cncp.install.stamp import stamp_path
from cncp.ipp.hub import Load
from cncp.machine import connection_files
from cncp.machine.converge import engine_choice
from cncp.machine.ops import apply, busy_engines, lifecycle, main, steps
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.services import processes
from cncp.machine.services.processes import Found, Ours
from cncp.pidfile import Process
from tests.unit.machine.test_choices import node


def looks(*answers: list[str]) -> Callable[[], list[str]]:
    """Return what sees these engines at work one time after another, and the last ones from then on."""
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_nobody_is_asked_where_nobody_works() -> None:
    """What costs no task is just done."""
    busy_engines.insist(looks([]), "this", Manners(), pytest.fail)


def test_busy_engines_are_named_with_the_way_out() -> None:
    """One and several, in the same words whatever is asked for."""
    with pytest.raises(CncpError, match=r"^engine-0 is busy: this would lose its task$") as caught:
        busy_engines.insist(looks(["engine-0"]), "this", Manners(), pytest.fail)
    assert caught.value.hint == "wait for them: --wait SECONDS, or lose their tasks: --force"
    with pytest.raises(CncpError, match=r"engine-0, engine-1 are busy: scale 1 would lose their tasks"):
        busy_engines.insist(looks(["engine-0", "engine-1"]), "scale 1", Manners(), pytest.fail)


def test_they_are_waited_for_as_long_as_is_said() -> None:
    """It is said once, and goes on when they are idle; a wait that is over refuses."""
    said: list[str] = []
    busy_engines.insist(looks(["engine-0"], ["engine-0"], []), "this", Manners(wait=600), said.append)
    assert said == ["waiting for engine-0: busy"]
    with pytest.raises(CncpError):
        busy_engines.insist(looks(["engine-0"]), "this", Manners(wait=0.01), said.append)


def test_what_is_forced_says_what_it_costs() -> None:
    """Nothing is asked, and the loss is no secret."""
    said: list[str] = []
    busy_engines.insist(looks(["engine-0"]), "this", Manners(force=True), said.append)
    assert said == ["engine-0 is busy: its task is lost"]


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_a_terminal_is_asked(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yes goes on, also in the process that takes over after an installation; all else changes nothing."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv(busy_engines.FORCE, "")
    if answer == "y":
        busy_engines.insist(looks(["engine-0"]), "this", Manners(), pytest.fail)
        assert busy_engines.said(os.environ).force
    else:
        with pytest.raises(CncpError):
            busy_engines.insist(looks(["engine-0"]), "this", Manners(), pytest.fail)
        assert not busy_engines.said(os.environ).force


def test_what_is_said_here_reaches_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option is a variable from then on; a variable that makes no sense is refused."""
    for name in (busy_engines.WAIT, busy_engines.FORCE):
        monkeypatch.setenv(name, "")
    assert busy_engines.handed_on() == {}
    assert busy_engines.say(wait=60, force=True) == Manners(60.0, force=True)
    assert busy_engines.handed_on() == {"CNCP_WAIT": "60", "CNCP_FORCE": "true"}
    with pytest.raises(UsageError, match="CNCP_WAIT"):
        busy_engines.said({"CNCP_WAIT": "soon"})


@contextmanager
def answering(*_: object) -> Iterator[Any]:
    """Be a hub with an engine of this machine that works, one that is idle, and one of another that works."""
    load = {0: Load(1, 0), 1: Load(), 2: Load(0, 3)}
    ids = {0: "mine-0", 1: "mine-1", 2: "gold_7_0123456789ab"}
    yield SimpleNamespace(engines=lambda _: ids, queues=lambda _: load)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a node whose controller and two engines run, one of which works."""
    made = node(engines="2")
    current = {name: Process(1, "d", name.replace("engine", "mine")) for name in made.services}
    current["controller"] = Process(1, "d", "")
    monkeypatch.setattr(busy_engines, "running", lambda _: current)
    monkeypatch.setattr(busy_engines, "Hub", answering)
    monkeypatch.setattr(connection_files, "client", lambda _: {"key": ""})
    yield made
    current["controller"] = Process(0, "", "")
    assert busy_engines.busy(made) == {}


def test_with_the_controller_all_that_works_is_lost(cluster: Any) -> None:
    """Engines of other hosts, too; without it, those of this machine that are ended themselves."""
    assert busy_engines.busy(cluster) == {"engine-0": True, "engine-7 of gold": False}
    assert busy_engines.of(cluster, ["controller"])() == ["engine-0", "engine-7 of gold"]
    assert busy_engines.of(cluster, ["engine-0", "engine-1"])() == ["engine-0"]
    assert busy_engines.of(cluster, ["engine-1", "jupyter"])() == []


def plan(made: Any, **changed: Any) -> apply.Plan:
    """Return a plan that changes nothing but this."""
    unchanged = apply.Plan(made, SimpleNamespace(services={}), (), (), (), (), (), "")  # type: ignore[arg-type]
    return replace(unchanged, **changed)


@pytest.mark.parametrize(
    ("changed", "ended"),
    [
        ({"start": ("engine-0", "engine-2")}, {"engine-0"}),
        ({"stop": ("engine-1",)}, {"engine-1"}),
        ({"files": ("a",)}, set[str]()),
        ({"start": ("controller",)}, {"controller"}),
        ({"leave": "leaving tmux"}, {"controller", "engine-0", "engine-1"}),
    ],
)
def test_a_plan_ends_what_runs_and_is_started_anew(
    changed: Any, ended: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new engine ends none, and where all is left all ends."""
    made = node(engines="2")
    monkeypatch.setattr(steps, "running", lambda _: dict.fromkeys(made.services, "d"))
    monkeypatch.setattr(apply, "past", lambda _: made)
    monkeypatch.setattr(processes, "ours", lambda _: Ours((), ()))
    assert apply.ended(plan(made, **changed), None) == ended  # type: ignore[arg-type]


def test_so_does_one_that_takes_what_nobody_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines whose service manager was killed are ended to be started anew: their tasks are tasks, too."""
    made = node(engines="1")
    monkeypatch.setattr(steps, "running", lambda _: {})
    monkeypatch.setattr(apply, "past", lambda _: made)
    monkeypatch.setattr(processes, "ours", lambda _: Ours((Found("engine-0", 5, 1),), ()))
    assert apply.ended(plan(made, start=("controller", "engine-0")), None) == {"engine-0"}  # type: ignore[arg-type]


def test_up_refuses_before_anything_is_touched(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that restarts a busy engine ends with its name, nothing written and nothing stopped."""
    monkeypatch.setattr("os.geteuid", lambda: cluster.account.uid)
    monkeypatch.setattr(apply, "locked", lambda *_: nullcontext())
    monkeypatch.setattr(apply, "service_manager", lambda *_: None)
    monkeypatch.setattr(apply, "plan", lambda *_: plan(cluster, start=("engine-0",)))
    monkeypatch.setattr(steps, "running", lambda _: {"engine-0": "old"})
    monkeypatch.setattr(processes, "ours", lambda _: Ours((), ()))
    monkeypatch.setattr(engine_choice, "converge", lambda *_: pytest.fail("converged"))
    with pytest.raises(CncpError, match="engine-0 is busy"):
        apply.up(cluster, Console(quiet=True))


@pytest.mark.parametrize("stamped", [b'{"lock": "of an older code"}', b'{"lock": "x", "requirements": "y"}'])
def test_so_do_other_packages_before_they_are_installed(
    stamped: bytes, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a running task has imported stays what it was, whether requirements or the lock have changed."""
    (tmp_path / "r.txt").touch()
    stamp_path(tmp_path).parent.mkdir()
    stamp_path(tmp_path).write_bytes(stamped)
    settings = replace(cluster.settings, requirements=str(tmp_path / "r.txt"))
    other = replace(cluster, home=str(tmp_path), settings=settings)
    monkeypatch.setattr(main, "describe", lambda _: other)
    monkeypatch.setattr(main, "former", lambda _: cluster)
    monkeypatch.setattr(main, "require_root", lambda *_: False)
    monkeypatch.setattr(environment, "make_home", lambda _: pytest.fail("installed"))
    with pytest.raises(CncpError, match="other packages would lose"):
        main.converge(None, Console(quiet=True))  # type: ignore[arg-type]


def test_what_is_asked_for_outright_only_says_what_it_costs(cluster: Any) -> None:
    """Restart and down go on without a wait, and refuse when one was asked for and is over."""
    err = io.StringIO()
    lifecycle.part(cluster, cluster.services, "restart", Manners(), Console(err=err))
    assert err.getvalue() == "warning: engine-0, engine-7 of gold are busy: their tasks are lost\n"
    with pytest.raises(CncpError, match="restart would lose"):
        lifecycle.part(cluster, ["engine-0"], "restart", Manners(wait=0.01), Console(err=err))
