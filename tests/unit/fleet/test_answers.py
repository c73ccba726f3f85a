"""What hosts answer: whatever it is, it costs that host alone, and nothing of it is believed unchecked."""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cncp import remote
from cncp.client import rotate
from cncp.config.inventory import HostSpec, Inventory
from cncp.config.settings import LOOPBACK
from cncp.console import Console
from cncp.errors import CncpError, shown
from cncp.field_types import ShortText
from cncp.files import to_json
from cncp.fleet import (
    controller_host,
    deploy,
    hardware_report,
    init_file,
    operations,
    registry,
    tunnel_grants,
    tunnel_setup,
)
from cncp.fleet.model import Surveyed
from cncp.fleet.phases import start_engines
from cncp.fleet.phases import survey as surveys
from cncp.fleet.registry import Placed
from cncp.fleet.remote_machine import RemoteMachine
from cncp.fleet.scene import Scene
from cncp.machine.jupyter.service import Access
from cncp.machine.ops.engine_states import EngineState, RollCall
from cncp.machine.ops.status import Status
from cncp.machine.tunnels import Tunnel
from cncp.process import Completed
from cncp.ssh import answers, pool, rpc
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.tasks import program

from .facts import SAID, SECRET, facts
from .test_hosts import CODE

GREETED = f"{remote.GREETING} {remote.PROTOCOL}\n".encode()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
PLACED = Placed("far", "/home/ada/.local/share/cncp", "/home/ada/.local/share/cncp", {}, (), HostSpec("far"))

CONSOLE = Console(io.StringIO(), io.StringIO())

HARDWARE: dict[str, Any] = {
    "cores": 4,
    "cpu": "A CPU",
    "disk_free": 2**40,
    "gpus": ["A100"],
    "home": "/home/ada",
    "kernel": "6.1",
    "load": 0.5,
    "memory": 2**34,
    "numa": 1,
    "os": "Debian",
    "pythons": ["3.11.2"],
    "sockets": 1,
    "systemd": True,
    "users": ["ada"],
}
REPORT: dict[str, Any] = {
    "answering": [],
    "changed": True,
    "converge": "embedded",
    "converge_why": "",
    "engines": [0, 1],
    "jupyter": None,
    "profile": "cncp",
    "profile_dir": "/home/ada/.ipython/profile_cncp",
    "scope": "user",
    "service_manager": "systemd",
    "uuids": ["far-0-a", "far-1-b"],
    "why": "",
}
STATUS: list[dict[str, Any]] = [
    {
        "name": "engine-0",
        "host": "far",
        "id": None,
        "pid": 7,
        "state": "running",
        "uptime": 1.5,
        "memory": 2**20,
        "cpu": 0.1,
        "restarts": 0,
        "last_exit": "",
        "uuid": "far-0-a",
    }
]
TUNNEL = Tunnel("far", "far", (KEY,), (20000,), LOOPBACK, reverse=True)


class Canned(Host):
    """A host that answers everything with the same bytes, in today's protocol."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(HostSpec("far"))
        self.raw = raw

    def way(self, argv: Any, told: Any = None) -> Any:
        """Never ask it for one."""
        raise AssertionError(argv, told)

    def run(self, argv: Any, *_: Any, **__: Any) -> Completed:
        """Say it."""
        return Completed((), 0, (GREETED if "cncp.remote" in argv else b"") + self.raw, "")


def found(host: Host) -> Surveyed:
    """Return a host that was looked at before."""
    return Surveyed(host, facts())


def scene(host: Host, home: Path) -> Scene:
    """Return a cluster of this one host, connected."""
    registry.save(home, {"far": PLACED})
    made = Scene(Inventory((host.spec,), host.spec), home, [host.spec], CONSOLE)
    made.machines = {"far": RemoteMachine(PLACED, host, CONSOLE)}
    return made


def alone(work: Callable[[Host], Any]) -> Callable[[Host, Path], Any]:
    """Return work that needs no folder."""
    return lambda host, _: work(host)


def surveyed(host: Host) -> object:
    seen = surveys.survey({"far": host})
    for survey in seen.results.values():
        assert survey.root.startswith("/")
        assert isinstance(survey.has_tunnels, bool)
    return seen


def starts(host: Host) -> object:
    known = answers.read("far", host.run([]).output, hardware_report.Hardware)
    made = init_file.text([host.spec], init_file.Found({"far": known}, {}))
    lines = [line for line in made.splitlines() if line and not line.startswith(("#", "engines = "))]
    assert lines == ["[[pool]]", 'hosts = ["far"]']
    return hardware_report.as_csv({"far": known}), hardware_report.rows({"far": known})


def reported(host: Host) -> object:
    report = deploy.up(found(host), {}, lambda _: None, deploy.Code(b"", "0" * 64))
    return list(zip(report.engines, report.uuids, strict=True))


def let_in(host: Host) -> object:
    public = tunnel_setup.leave(PLACED, host, [TUNNEL]).public
    assert public in ("", KEY)
    return public


ASKED: Mapping[str, tuple[Callable[[Host, Path], Any], Any]] = {
    "probe": (alone(surveyed), SAID),
    "marks": (alone(lambda host: rpc.call(host, rpc.MARKS, "n").names), {"names": ["far"]}),
    "dial": (
        alone(lambda host: start_engines.reachable(found(host), SECRET, ["10.0.0.1"])),
        {"open": {"10.0.0.1": [20000]}},
    ),
    "ssh": (alone(lambda host: tunnel_setup.by_trial(host, "x", "", 0, ["10.0.0.1"])), {"open": {"10.0.0.1": [22]}}),
    "host_keys": (alone(lambda host: tunnel_setup.by(host.spec, host, SECRET, reverse=True)), {"keys": [KEY]}),
    "hardware": (alone(starts), HARDWARE),
    "report": (alone(reported), REPORT),
    "tunnels": (alone(let_in), {"changed": True, "public": KEY}),
    "rollcall": (
        alone(lambda host: controller_host.remote_roll_call(PLACED, host, [], 0.0).engines),
        {"controller": True, "engines": {"far-0-a": {"id": 0, "state": "idle"}}},
    ),
    "engine file": (
        alone(lambda host: controller_host._content("far", host.run([]).output).ports),
        SECRET.to_json(),
    ),
    "plan": (
        alone(lambda host: answers.read("far", host.run([]).output, dict[ShortText, object])),
        {"files": [{"path": "/x", "what": "new", "diff": "+a\n"}], "leave": ""},
    ),
    "status": (lambda host, home: operations.status(scene(host, home)), STATUS),
    "check": (
        lambda host, home: operations.check(scene(host, home), from_hosts=False),
        [{"what": "no room", "remedy": "make room"}],
    ),
    "rotated": (
        alone(lambda host: answers.read("far", host.run([]).output, rotate.Rotated)),
        {"before": "a", "after": "b", "running": True, "engines": 2},
    ),
    "jupyter": (
        alone(lambda host: answers.read("far", host.run([]).output, Access)),
        {"port": 1, "token": "a"},
    ),
}
"""Everything that a host is asked: what uses the answer, and one that is right."""

ODD: list[Any] = [
    *({}, [], [1], 5, -1, None, True, "", "x", 1.5, 2**70, {"x": {}}, [{}], [[]], "a" * 100_000),
    *('1\njump = "mallory@evil"\n\n[[pool]]', "\x1b]0;x\x07", "a\0b", "../..", "--option", float("nan"), float("inf")),
]
RAW = [b"", b"[" * 100_000, b"{" * 5000, b"\xff\xfe", b"1" * 5000, b'{"a":' * 3000, b"null", b"NaN", b"nonsense\n{}"]


def altered(good: Any) -> Iterator[Any]:
    """Yield a right answer with each of its members in turn missing, and replaced by everything odd."""
    yield from ODD
    members = list(good) if isinstance(good, dict) else list(range(len(good))) if isinstance(good, list) else []
    for member in members:
        if isinstance(good, dict):
            yield {name: value for name, value in good.items() if name != member}
        for inside in altered(good[member]) if isinstance(good[member], dict | list) else ODD:
            made = copy.copy(good)
            made[member] = inside
            yield made


def failure(work: Callable[[], Any]) -> CncpError | None:
    """Return the error of ours that work ends with, None where it has none."""
    try:
        work()
    except CncpError as error:
        return error
    return None


def costs_that_host_alone(asked: str, raw: bytes, home: Path) -> None:
    """Hold that an answer is used, or is this host's failure with a line of what to do, and nothing else."""
    error = failure(lambda: ASKED[asked][0](Canned(raw), home))
    if error is not None:
        assert isinstance(error, HostError)
        assert (error.host, bool(error.hint), error.message) == ("far", True, shown(error.message))


@pytest.mark.parametrize("asked", list(ASKED))
def test_a_right_answer_is_used(asked: str, tmp_path: Path) -> None:
    """Or the table of them would hold nothing."""
    work, good = ASKED[asked]
    if asked == "dial":
        with pytest.raises(HostError, match="is closed to it"):
            work(Canned(to_json(good)), tmp_path)
    else:
        assert work(Canned(to_json(good)), tmp_path)


@pytest.mark.parametrize("asked", list(ASKED))
def test_an_altered_answer_costs_that_host_alone(asked: str, tmp_path: Path) -> None:
    """Members that are missing, of another type, beyond bounds, with control characters; and what is no JSON."""
    for raw in RAW:
        costs_that_host_alone(asked, raw, tmp_path)
    for value in altered(ASKED[asked][1]):
        costs_that_host_alone(asked, json.dumps(value).encode(), tmp_path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=8), inside, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("asked", list(ASKED))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_answer_costs_that_host_alone(asked: str, tmp_path: Path, data: st.DataObject) -> None:
    """Any JSON, any members in place of right ones, any bytes."""
    good = ASKED[asked][1]
    members = sorted(good) if isinstance(good, dict) else []
    raw = data.draw(
        st.binary(max_size=40)
        | VALUES.map(lambda value: json.dumps(value).encode())
        | st.dictionaries(st.sampled_from(members or ["x"]), VALUES, max_size=3).map(
            lambda value: json.dumps({**good, **value} if isinstance(good, dict) else [value]).encode()
        )
    )
    costs_that_host_alone(asked, raw, tmp_path)


def test_check_sees_engines_that_the_controller_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without the controller knows only that its engines run; the hub is asked of them, as by `status`."""
    made = scene(Canned(b"[]"), tmp_path)
    made.inventory = Inventory((HostSpec("far"),))
    row = Status(**{"host": "far", **STATUS[0]})
    rows = [replace(row, uptime=900.0), replace(row, name="engine-1", uuid="b"), replace(row, uuid="c")]
    monkeypatch.setattr(made.machines["far"], "status", lambda: rows)
    seen = {"b": EngineState(1, "silent"), "c": EngineState(2, "idle")}
    monkeypatch.setattr(made, "roll_call", lambda *_: RollCall(controller=True, engines=seen))
    found = operations.check(made, from_hosts=False)
    assert [(finding.host, finding.what) for finding in found] == [
        ("far", "engine-0 runs, but the controller does not know it"),
        ("far", "engine-1 runs, but does not answer the controller"),
    ]
    assert "cncp up --limit far" in found[0].remedy
    assert not made.failures


def test_what_the_system_says_no_to_is_of_no_concern_to_the_others() -> None:
    """A full disk here, or a name that it does not take, is the failure of the host it came from."""

    def work(name: str) -> str:
        if name == "bad":
            raise FileExistsError(17, "File exists", "/here/x")
        return name

    outcome = pool.at_once({"good": "good", "bad": "bad"}, work)
    assert (dict(outcome.results), list(outcome.failures)) == ({"good": "good"}, ["bad"])
    assert "File exists" in outcome.failures["bad"].message


def test_nothing_of_it_is_an_order_to_the_terminal() -> None:
    """Neither in results, nor in progress, tables or errors; colours go, lines and tabs of ours stay."""
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err)
    bad = "a\x1b]0;title\x07b\x1b[31mred\x9b2J\x7f\u202egnp\u2028\r\ud800"
    console.say(f"one\n\ttwo {bad}")
    console.table(["H"], [[bad]])
    for tell in (console.phase, console.note, console.warn, console.complain):
        tell(f"{bad}\nhint: mine")
    console.error(CncpError(f"{bad}\nhint: mine", f"do\n{bad}"))
    said = out.getvalue() + err.getvalue()
    assert not {character for character in said if character != "\n" and shown(character, "\t") != character}
    assert len(err.getvalue().splitlines()) == 6
    assert out.getvalue().startswith("one\n\ttwo a\\x1b]0;title\\x07bred\\x9b2J\\x7f\\u202egnp\\u2028\\r\\ud800\n")
    assert CncpError("a\nb", "c").message == "a\\nb"


@pytest.mark.parametrize(
    ("name", "read"), [("fleet.json", registry.load), ("gates.json", tunnel_grants.load)], ids=["fleet", "gates"]
)
def test_our_own_notes_of_hosts_are_read_with_care(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    """Damaged or of another version they are as good as not there."""
    registry.save(tmp_path, {"far": PLACED})
    tunnel_grants.save(tmp_path, {tunnel_grants.Gate("far", "near", KEY)})
    good = json.loads((tmp_path / name).read_bytes())
    # What a newer version has noted is not taken for damaged.
    del good["format"]
    assert read(tmp_path)
    for value in altered(good):
        (tmp_path / name).write_text(json.dumps(value))
        assert failure(lambda: read(tmp_path)) is None


STAND_IN = """#!/bin/sh
# As ssh does: the last word goes to a login shell. What a bad host answers in place of it is in a file.
for word; do
    case "$last:$word" in -O:*|*:-G) exit 0 ;; *:-N) : > "$socket"; exit 0 ;; esac
    [ "$last" != -S ] || socket=$word
    name=$last last=$word
done
[ -f "$BAD/$name" ] || exec sh -c "$last"
echo cncp-output-begins; echo cncp-output-begins >&2
cat > /dev/null
cat "$BAD/$name"
"""


@pytest.mark.parametrize("raw", [b"[" * 100_000, json.dumps({**HARDWARE, "cores": '4\njump = "evil"'}).encode()])
def test_other_hosts_results_are_kept(
    raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through the command itself and a stand-in for ssh: exit code 3, no traceback, the good host is shown."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bin" / "ssh").write_text(STAND_IN)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    (tmp_path / "bad" / "bad").write_bytes(raw)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(CODE))
    monkeypatch.setenv("BAD", str(tmp_path / "bad"))
    for words in (["hosts.facts", "--hosts=bad,good"], ["init", "bad", "good"]):
        status = program.answer(words)
        out, err = capfd.readouterr()
        assert status == 3, out + err
        assert "[bad] failed: its answer is not readable" in err
        assert "good" in out
        assert "jump" not in out
