"""`cncp up` on many machines is a list of phases: their order, which are taken, and what a failure leaves."""

from __future__ import annotations

import dataclasses
import io
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from cncp.config.host_way import FORWARD, REVERSE
from cncp.config.inventory import ALONE, LOCAL, HostSpec, Inventory
from cncp.console import Console, Stopwatch
from cncp.errors import CncpError, PreflightError
from cncp.fleet import tunnel_grants
from cncp.fleet.model import Fleet, Surveyed
from cncp.fleet.phases import in_charge, install, survey
from cncp.fleet.phases.base import Phase, Report, Run, Together
from cncp.fleet.phases.connect import Connect
from cncp.fleet.phases.install import InstallController, InstallHosts
from cncp.fleet.phases.open_tunnels import OpenTunnels
from cncp.fleet.phases.revoke_tunnels import RevokeTunnels
from cncp.fleet.phases.start_controller import StartController
from cncp.fleet.phases.start_engines import StartEngines
from cncp.fleet.phases.survey import Survey
from cncp.fleet.rollout import PHASES, take
from cncp.fleet.tunnel_grants import Gate
from cncp.machine.ops.apply import MachineReport
from cncp.machine.ops.engine_states import EngineState
from cncp.ssh import authorized_keys
from cncp.ssh.connection import Local
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Crew, Outcome

from .facts import facts

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
"""A public key in form."""

SAID = MachineReport(False, (0, 1), "cncp", "/p", "user", "systemd", ("a-0", "a-1"))
"""What the main job says on a host with two engines."""


class Mark(Phase):
    """A phase that notes that it took place, and may fail."""

    name: ClassVar = "mark"

    def __init__(self, taken: list[str], called: str, error: CncpError | None = None, wanted: bool = True) -> None:
        self._taken = taken
        self._called = called
        self._error = error
        self._wanted = wanted

    def title(self, run: Run, report: Report) -> str:
        return f"taking {self._called}"

    def wanted(self, run: Run, report: Report) -> bool:
        return self._wanted

    def run(self, run: Run, report: Report) -> None:
        self._taken.append(self._called)
        if self._error is not None:
            raise self._error


class Fails(Phase):
    """A phase that one host fails in."""

    name: ClassVar = "fails"

    def run(self, run: Run, report: Report) -> None:
        report.fail({"b": HostError("b", "no room", "make some")})


def surveyed(name: str) -> Surveyed:
    """Return a host that can be gone on with."""
    return Surveyed(Local(HostSpec(name)), facts(home="/h"))


def run_of(home: Path, *hosts: HostSpec, controller: str = LOCAL, named: bool = True) -> Run:
    """Return what phases of a cluster of these hosts go by; nobody is connected."""
    inventory = Inventory(hosts, HostSpec(controller)) if named else ALONE
    fleet = Fleet(inventory, {spec.name: {"engines": 2} for spec in hosts}, home, hosts)
    here: Any = SimpleNamespace(has_tunnels=False) if controller == LOCAL else None
    console = Console(io.StringIO(), io.StringIO())
    asked: Any = None
    node: Any = SimpleNamespace(services=())
    return Run(asked, node, fleet, console, Stopwatch(console), Crew(hosts), here)


def heard(run: Run) -> list[str]:
    """Return the lines that the user has seen."""
    assert isinstance(run.console.err, io.StringIO)
    return run.console.err.getvalue().splitlines()


def test_nobody_is_told_of_no_hosts(tmp_path: Path) -> None:
    """Where the file names this machine alone, nothing is said of logging in to others."""
    alone, two = run_of(tmp_path), run_of(tmp_path, HostSpec("a"), HostSpec("b"))
    for phase in (Connect(), StartEngines(), OpenTunnels()):
        assert phase.title(alone, Report()) == ""
    assert Connect().title(two, Report()) == "connecting to 2 hosts"
    assert StartEngines().title(two, Report(surveyed={"a": surveyed("a")})) == "starting engines on 1 host"


def test_the_order_of_phases() -> None:
    """What is asked, noted, installed and started comes one after the other; what can, at the same time."""
    order = [[phase.name for phase in step.phases] if isinstance(step, Together) else step.name for step in PHASES]
    assert order == [
        "environment",
        "this-machine",
        "remember",
        "acquire",
        "connect",
        "survey",
        "record",
        "install-controller",
        ["install-hosts", "start-controller"],
        "publish",
        "open-tunnels",
        "start-engines",
        "revoke-tunnels",
        "await-engines",
        "await-members",
        "tell-former",
        "remember",
    ]


def test_a_machine_by_itself_has_no_hosts_to_see_to(tmp_path: Path) -> None:
    """Of all phases three are its own: packages, the main job, and what is kept of the command line at the end."""
    steps = [phase for step in PHASES for phase in (step.phases if isinstance(step, Together) else (step,))]
    report = Report()
    here: Any = SimpleNamespace(has_tunnels=True)
    report.controller = here
    alone = run_of(tmp_path, named=False)
    wanted = [number for number, phase in enumerate(steps) if phase.wanted(alone, report)]
    assert [steps[number].name for number in wanted] == ["environment", "start-controller", "remember"]
    assert wanted[-1] == len(steps) - 1
    many = [phase.name for phase in steps if phase.wanted(run_of(tmp_path, HostSpec("a")), report)]
    assert many[:3] == ["environment", "remember", "connect"]
    assert many.count("remember") == 1


def test_what_is_kept_of_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file in use, in the home of the machine in charge."""
    kept: list[Any] = []
    monkeypatch.setattr(in_charge, "remember", lambda *given: kept.append(given))
    asked: Any = SimpleNamespace(former="former", flags={"engines": "2"}, file=tmp_path / "cluster.toml")
    node: Any = SimpleNamespace(account="ada")
    run = dataclasses.replace(run_of(tmp_path / "new"), asked=asked, node=node)
    take((in_charge.Remember(early=True), in_charge.Remember(early=False)), run, Report())
    assert kept == [("ada", tmp_path / "new", "former", {"engines": "2"}, tmp_path / "cluster.toml")]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_the_machine_in_charge_has_no_services_where_the_controller_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is brought to that; what has the controller is so in its own phase."""
    brought: list[Any] = []
    monkeypatch.setattr(in_charge, "up", lambda node, _: brought.append(node))
    monkeypatch.setattr(in_charge, "bring_environment", lambda _, __, again: brought.append(again))
    run = dataclasses.replace(run_of(tmp_path, controller="far"), again=("up",))
    take((in_charge.Environment(), in_charge.ThisMachine()), run, Report())
    take((in_charge.ThisMachine(),), run_of(tmp_path), Report())
    assert brought == [("up",), run.node]


def test_what_the_main_job_leaves_on_the_controllers_machine(tmp_path: Path) -> None:
    """Its engines have answered when it ends; the connection file is read where others are named."""
    for named, secret in ((True, {"key": "k"}), (False, None)):
        report = Report()
        controller: Any = SimpleNamespace(up=lambda: SAID, engine_file=lambda: {"key": "k"})
        report.controller = controller
        take((StartController(),), run_of(tmp_path, named=named), report)
        assert (report.all_answering, report.silent(LOCAL), getattr(report, "secret", None)) == (2, [], secret)


def test_phases_are_announced_and_taken_in_their_order(tmp_path: Path) -> None:
    """One that is not wanted neither says nor does anything."""
    run, taken = run_of(tmp_path), list[str]()
    take((Mark(taken, "one"), Mark(taken, "two", wanted=False), Mark(taken, "three")), run, Report())
    assert taken == ["one", "three"]
    assert heard(run) == ["==> taking one", "==> taking three"]


def test_phases_together_wait_for_one_another(tmp_path: Path) -> None:
    """They overlap, the next begins when both are over, and the last has the thread that signals come to."""
    meeting, threads, taken = threading.Barrier(2), dict[str, bool](), list[str]()

    class Meets(Phase):
        """Goes on once the other is there."""

        name: ClassVar = "meets"

        def __init__(self, called: str) -> None:
            self._called = called

        def run(self, run: Run, report: Report) -> None:
            meeting.wait(timeout=30)
            threads[self._called] = threading.current_thread() is threading.main_thread()

    take((Together(Meets("behind"), Meets("before")), Mark(taken, "next")), run_of(tmp_path), Report())
    assert threads == {"behind": False, "before": True}
    assert taken == ["next"]


def test_a_host_that_fails_is_told_once_and_left_out(tmp_path: Path) -> None:
    """The others go on; what is told is told when the phase is over, before the next begins."""
    run, taken, report = run_of(tmp_path, HostSpec("a"), HostSpec("b")), list[str](), Report()
    report.surveyed = {name: surveyed(name) for name in ("b", "a", "c")}
    assert list(report.ready(run.fleet)) == ["a", "b"]
    take((Fails(), Mark(taken, "next")), run, report)
    assert list(report.ready(run.fleet)) == ["a"]
    assert heard(run) == ["warning: [b] no room; make some", "==> taking next"]
    take((Fails(),), run, report)
    assert heard(run)[2:] == ["warning: [b] no room; make some"]


@pytest.mark.parametrize("together", [False, True])
def test_a_phase_that_fails_ends_the_run(tmp_path: Path, together: bool) -> None:
    """What came before it stays in the report, hosts that failed meanwhile are told, and nothing comes after."""
    run, taken, report = run_of(tmp_path, HostSpec("a"), HostSpec("b")), list[str](), Report()
    report.hosts["a"] = SAID
    failing = Mark(taken, "failing", PreflightError("it cannot be", "mend it"))
    steps = (Together(Fails(), failing),) if together else (Fails(), failing)
    with pytest.raises(PreflightError, match="it cannot be"):
        take((*steps, Mark(taken, "after")), run, report)
    assert taken == ["failing"]
    assert list(report.failures) == ["b"]
    assert report.hosts == {"a": SAID}
    assert heard(run).count("warning: [b] no room; make some") == 1


def test_the_time_of_each_phase(tmp_path: Path) -> None:
    """It is taken of all that took place, of one that fails as well, and said to who asked for it."""
    run, report = run_of(tmp_path, HostSpec("b")), Report()
    steps = (Together(Fails(), Mark([], "one")), Mark([], "two", wanted=False))
    take(steps, run, report)
    assert sorted(run.watch.seconds) == ["fails", "mark"]
    assert not [line for line in heard(run) if "mark: " in line]
    run.console.verbose = True
    with pytest.raises(PreflightError):
        take((Mark([], "three", PreflightError("it cannot be", "mend it")),), run, report)
    assert re.fullmatch(r"    mark: \d+\.\d\d s", heard(run)[-1])
    run.console.quiet = True
    take((Fails(),), run, report)
    assert not [line for line in heard(run) if "fails: " in line]


def test_the_time_of_what_is_done_twice_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is said by itself."""
    console = Console(io.StringIO(), io.StringIO(), verbose=True)
    clock = iter([1.0, 1.5, 7.0, 9.25])
    monkeypatch.setattr("cncp.console.time.monotonic", lambda: next(clock))
    watch = Stopwatch(console)
    for _ in range(2):
        with watch.phase("files"):
            pass
    assert watch.seconds == {"files": 2.75}
    assert isinstance(console.err, io.StringIO)
    assert console.err.getvalue().splitlines() == ["    files: 0.50 s", "    files: 2.25 s"]


def test_a_run_is_not_changed(tmp_path: Path) -> None:
    """What phases go by is the same for all of them."""
    run = run_of(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.here = None  # type: ignore[misc]


def test_which_engines_answer() -> None:
    """Those that the controller sees idle or busy do; of a host without a report nothing is known."""
    report = Report(hosts={"a": SAID}, engines={"a-0": EngineState(0, "busy")})
    assert (report.answering("a"), report.silent("a"), report.unknown("a")) == (1, [1], [1])
    report.engines = {"a-0": EngineState(0, "silent")}
    assert (report.answering("a"), report.silent("a"), report.unknown("a")) == (0, [0, 1], [1])
    assert (report.answering("b"), report.silent("b"), report.unknown("b")) == (0, [], [])


def test_what_a_report_comes_to() -> None:
    """Engines are counted on the hosts that were started, and one host that changed is a change."""
    report = Report(hosts={"a": SAID, "b": dataclasses.replace(SAID, engines=(0,), uuids=("b-0",))})
    report.engines = {"a-0": EngineState(0, "idle"), "a-1": EngineState(1, "silent"), "b-0": EngineState(2, "busy")}
    assert (report.all_answering, report.all_engines, report.changed, report.profile) == (2, 3, False, "cncp")
    report.hosts["b"] = dataclasses.replace(SAID, changed=True)
    assert report.changed


def test_the_controllers_host_is_installed_where_it_is_another(tmp_path: Path) -> None:
    """On this machine that was done before hosts are looked at."""
    assert not InstallController().wanted(run_of(tmp_path), Report())
    assert InstallController().wanted(run_of(tmp_path, controller="far"), Report())


@pytest.mark.parametrize(
    ("connect", "had", "wanted"),
    [("direct", False, False), (FORWARD, False, False), (REVERSE, False, True), ("direct", True, True)],
)
def test_tunnels_are_seen_to_where_there_are_some(tmp_path: Path, connect: str, had: bool, wanted: bool) -> None:
    """To be opened from the controller's machine, or to be left there."""
    run, report = run_of(tmp_path, HostSpec("a", connect=connect)), Report()
    controller: Any = SimpleNamespace(has_tunnels=had)
    report.controller = controller
    assert OpenTunnels().wanted(run, report) is wanted


def test_nothing_is_left_to_go_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every host fails, or the controller's does, that is said after each host's own reason."""
    for controller, failed, said in ((LOCAL, ["a", "b"], "no host"), ("far", ["far"], "the controller's host far")):
        found = {name: surveyed(name) for name in ("a", "b", "far") if name not in failed}
        errors = {name: HostError(name, "it is full", "make room") for name in failed}
        outcome = Outcome(found, errors)
        monkeypatch.setattr(survey, "survey", lambda *_, outcome=outcome: outcome)
        run = run_of(tmp_path, HostSpec("a"), HostSpec("b"), controller=controller)
        with pytest.raises(PreflightError, match=said):
            take((Survey(),), run, Report())
        assert heard(run) == [f"warning: [{name}] it is full; make room" for name in failed]


def test_hosts_that_share_a_home_are_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the one fails in, all of them do; each keeps settings of its own."""
    shared = ("a", "b")
    report = Report()
    report.surveyed = {
        **{name: Surveyed(Local(HostSpec(name)), facts(home="/h"), shared) for name in shared},
        "c": surveyed("c"),
    }
    brought: list[str] = []

    def bring(_: object, host: Surveyed, __: object) -> dict[str, Any]:
        brought.append(host.name)
        if host.name == "a":
            raise HostError("a", "no room", "make some")
        return {"engines": 1}

    monkeypatch.setattr(install.Installer, "_bring", bring)
    monkeypatch.setattr(install.Installer, "_wheels", lambda *_: None)
    take((InstallHosts(),), run_of(tmp_path, *(HostSpec(name) for name in (*shared, "c"))), report)
    assert sorted(brought) == ["a", "c"]
    assert {name: error.message for name, error in report.failures.items()} == {"a": "no room", "b": "no room"}
    assert report.settings == {"c": {"engines": 2}}


def test_keys_of_hosts_that_were_not_started_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel may run that could not be seen to; a machine that keeps a key in costs no other."""
    stale, used, unseen = Gate("a", "a", KEY), Gate("b", "b", KEY), Gate("c", "c", KEY)
    tunnel_grants.save(tmp_path, {stale, unseen})
    run = run_of(tmp_path, *(HostSpec(name) for name in "abc"))
    report = Report(hosts={"a": SAID, "b": SAID}, gates={used}, surveyed={name: surveyed(name) for name in "abc"})
    removed: list[str] = []
    monkeypatch.setattr(authorized_keys, "remove", lambda host, *_: removed.append(host.spec.name))
    take((RevokeTunnels(),), run, report)
    assert removed == ["a"]
    assert tunnel_grants.load(tmp_path) == {used, unseen}
