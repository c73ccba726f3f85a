"""Which processes are ours, seen in /proc alone: no record, no socket and no service manager tells."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cncp import pidfile, remote
from cncp.inheritance import MARK
from cncp.ipp.engine_uuid import slot, uuid_of
from cncp.machine.facts import gather
from cncp.machine.node import Node
from cncp.machine.ops import steps
from cncp.machine.services import processes
from cncp.machine.services.base import ServiceState, command, running_process, sweep, unkept
from cncp.machine.services.processes import as_recorded, command_line, environment, ours, running
from tests.unit.machine.test_choices import node

IDLE = """
import os, sys
child = os.fork()
if child:
    print(child, flush=True)
sys.stdin.read()
"""


class Manager:
    """A service manager that knows some services and keeps what some processes have begun."""

    def __init__(self, states: Mapping[str, ServiceState] = {}, keepers: set[int] = set()) -> None:  # noqa: B006
        self._states, self._keepers = states, keepers

    def states(self) -> Mapping[str, ServiceState]:
        """Return what it was made with."""
        return self._states

    def keepers(self) -> set[int]:
        """Return what it was made with."""
        return self._keepers


@pytest.fixture
def made(tmp_path: Path) -> Node:
    """A node of this account, in a home of its own, with two engines."""
    home = tmp_path / "a home's 50%"
    (home / "run").mkdir(parents=True)
    (home / "libexec").mkdir()
    (tmp_path / "cncp").mkdir()
    (tmp_path / "cncp" / "remote.py").write_text(IDLE)
    (home / "libexec" / "keep").write_text("#!/bin/sh\nread line\nshift\n")
    return dataclasses.replace(node(engines="2"), account=gather({}).account, home=str(home))


@contextlib.contextmanager
def begun(folder: str, words: list[str], env: Mapping[str, str] = os.environ) -> Iterator[Any]:
    """Run a program, which ends with the block."""
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=env) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.kill()
            process.stdin.close()


@contextlib.contextmanager
def ran(made: Node, name: str, digest: str = "d1") -> Iterator[tuple[int, int]]:
    """Run what has the command line of a service, and return it and a process that it has forked."""
    # Not isolated, so that the stand-in beside the home is found in its place.
    words = [sys.executable, *(word for word in command(made, name, digest)[1:] if word != "-I")]
    with begun(str(Path(made.home).parent), words) as process:
        yield process.pid, int(process.stdout.readline())


def test_services_are_seen_without_a_record(made: Node) -> None:
    """Each is found once, whatever it has forked, with the digest and the uuid that its record would have."""
    with ran(made, "engine-1") as (pid, child), ran(made, "controller", "d2") as (other, _):
        found = {process.name: process for process in ours(made).services}
        assert {name: (process.pid, process.digest) for name, process in found.items()} == {
            "engine-1": (pid, "d1"),
            "controller": (other, "d2"),
        }
        assert as_recorded(made, pid) == pidfile.Process(pid, "d1", uuid_of(made.host, 1, pid))
        assert slot(running_process(made, "engine-1").uuid) == (made.host, 1)
        pidfile.write(made.run_dir, "controller", "recorded", pid=other)
        assert {name: process.pid for name, process in running(made).items()} == {
            "controller": other,
            "engine-0": 0,
            "engine-1": pid,
        }
        assert running(made)["controller"].digest == "recorded"
        # Of a service that has ended, what it forked is left.
        os.kill(pid, 9)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert child in [process.pid for process in ours(made).services]
    assert as_recorded(made, pid) == pidfile.GONE


def test_other_clusters_processes_are_not_ours(made: Node) -> None:
    """Another home, another account, another program that names our files: none of them is taken for ours."""
    other = dataclasses.replace(made, home=f"{made.home}-2")
    stranger = dataclasses.replace(made, account=dataclasses.replace(made.account, uid=made.account.uid + 1))
    named = [sys.executable, "-c", "import sys; sys.stdin.read()", *command(made, "engine-0", "d")]
    with ran(made, "engine-0"), begun("/", named):
        assert ours(other).services == ()
        assert ours(stranger).services == ()
        assert [process.name for process in ours(made).services] == ["engine-0"]


def test_what_keeps_services_is_seen(made: Node) -> None:
    """The supervisord of our configuration, and the keep of our sessions."""
    folder = str(Path(made.home).parent)
    daemon = [sys.executable, "-s", *remote.command("supervisord", "-c", f"{made.home}/supervisor/supervisord.conf")]
    keep = ["/bin/sh", f"{made.home}/libexec/keep", f"{made.run_dir}/engine-0.exits", *command(made, "engine-0", "d")]
    with begun(folder, daemon) as first, begun(folder, keep) as second, begun(folder, [*daemon[:-1], "/other.conf"]):
        first.stdout.readline()
        seen = ours(made)
        assert sorted(keeper.pid for keeper in seen.keepers) == sorted([first.pid, second.pid])
        assert seen.services == ()


def test_options_of_python_come_before_the_module(made: Node) -> None:
    """Those that take a value, too; what is no option is a program of somebody's own."""
    words = command(made, "engine-0", "d")
    module = words[words.index("-m") :]
    assert processes.service(made, ["python", "-I", "-X", "utf8", "-W", "ignore", *module]) == ("engine-0", "d")
    assert processes.service(made, ["python", "script", *module]) == ("", "")
    assert processes.service(made, ["python", "-X", *module[:2]]) == ("", "")
    assert processes.service(made, ["python", *module[:2]]) == ("", "")


def test_processes_of_earlier_versions_are_known(made: Node) -> None:
    """Their units and configurations named modules: they run until `up` has replaced them."""
    words = command(made, "engine-0", "d")
    former = ["python", "-I", "-Xutf8", "-m", "cncp.serve", *words[words.index("serve") + 1 :]]
    assert processes.service(made, former) == processes.service(made, words) == ("engine-0", "d")
    daemon = ["python", "-I", "-Xutf8", "-m", "cncp.supervisord", "-c", f"{made.home}/supervisor/supervisord.conf"]
    assert processes._keeps(made, daemon)
    assert not processes._keeps(made, [*daemon[:-1], "/other.conf"])
    assert remote.waits_to_tell(["sh", "-c", "...", "sh", "python", "-I", "-m", "cncp.serve.death", "file"])


def test_what_nobody_looks_after(made: Node) -> None:
    """A service is looked after by who has begun it, or by a manager that knows its process; all else is ended."""
    with ran(made, "engine-0") as (pid, _), ran(made, "engine-1") as (other, _):
        known: Any = Manager({"engine-0": ServiceState("engine-0", running=True, pid=pid)})
        assert [process.pid for process in unkept(made, known, known.states()).services] == [other]
        parent: Any = Manager(keepers={os.getpid()})
        assert unkept(made, parent, {}).services == ()
        gone: Any = Manager()
        assert {process.pid for process in unkept(made, gone, {}).services} == {pid, other}
        said: list[str] = []
        assert steps.end_unkept(made, known, said.append) == ["ended engine-1"]
        assert said == ["ending engine-1: left by a service manager that is gone"]
        assert [process.pid for process in ours(made).services if process.name == "engine-0"] == [pid]


def test_what_has_ended_has_no_words() -> None:
    """Neither a command line nor an environment, and no error."""
    with subprocess.Popen(["true"], env={"A": "1"}) as process:
        process.wait()
    assert command_line(process.pid) == []
    assert environment(process.pid) == {}
    assert environment(os.getpid()).get("PATH") == os.environ.get("PATH")


def test_what_a_stopped_service_has_started_is_ended(made: Node) -> None:
    """Its forks, and programs in sessions of their own by the mark they carry; what tells the hub of it is not."""
    folder, idle = str(Path(made.home).parent), [sys.executable, "-c", "import sys; sys.stdin.read()"]
    marked = {**os.environ, MARK: f"engine-0 7 {made.home}"}
    foreign = {**os.environ, MARK: f"engine-0 7 {made.home}-2"}
    teller = [*idle, *remote.command("death")]
    with (
        ran(made, "engine-0") as (pid, child),
        ran(made, "engine-1") as (other, _),
        begun(folder, idle, marked) as started,
        begun(folder, idle, foreign) as stranger,
        begun(folder, teller, marked) as telling,
    ):
        assert sorted(processes.leavings(made, ["engine-0"])) == sorted([pid, child, started.pid])
        sweep(made, ["engine-0"])
        assert command_line(started.pid) == []
        assert processes.leavings(made, ["engine-0"]) in ([], [pid])
        assert [process.poll() for process in (stranger, telling)] == [None, None]
        assert other in [process.pid for process in ours(made).services]


def test_nobody_ends_the_command_that_sweeps(made: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal of Jupyter's it carries Jupyter's mark itself, and so do those that it is part of."""
    monkeypatch.setattr(processes, "environment", lambda _: {MARK: f"jupyter 7 {made.home}"})
    found = processes.leavings(made, ["jupyter"])
    assert not {os.getpid(), os.getppid()} & set(found)
