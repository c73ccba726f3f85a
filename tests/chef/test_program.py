"""How Chef is found, started and understood, with programs that stand in for it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cncp.console import Console, Stopwatch
from cncp.errors import CncpError, PreflightError
from cncp.machine import chef_api
from cncp.machine.actor import Actor
from cncp.machine.converge import chef, cinc, engine_choice
from cncp.machine.node import Node
from cncp.machine.root.authority import Authority
from cncp.process import Completed

Program = Callable[..., Path]


@pytest.fixture
def node(home: Path, tmp_path: Path) -> Node:
    """Return a node whose home is there."""
    environment = {"HOME": str(home), "CNCP_HOME": str(tmp_path)}
    made = chef_api.describe(chef_api.Given({"service_manager": "tmux"}), environment)
    return dataclasses.replace(made, scope="user")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Make a program of this name on a PATH of its own that says and exits as told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(chef, "_FOLDERS", (str(tmp_path / "opt"),))

    def make(name: str = "chef-solo", status: int = 0, report: object = None, where: Path = folder) -> Path:
        where.mkdir(exist_ok=True)
        said = "" if report is None else json.dumps(report)
        path = where / name
        path.write_text(
            f"#!/bin/sh\nprintf %s '{said}' > \"${{2%solo.rb}}report.json\"\necho words >&2\nexit {status}\n"
        )
        path.chmod(0o755)
        return path

    return make


def insisting(node: Node, engine: str) -> Node:
    """Return the node with another engine set."""
    return dataclasses.replace(node, settings=dataclasses.replace(node.settings, converge=engine))


def test_where_chef_is_found(stand_in: Program, tmp_path: Path) -> None:
    """The PATH comes first, then where packages put it; Cinc comes before Chef."""
    assert chef.find() is None
    packaged = stand_in("cinc-solo", where=tmp_path / "opt")
    assert chef.find() == packaged
    own = stand_in("chef-solo")
    assert chef.find() == own
    assert chef.find() != stand_in("cinc-solo")
    found = chef.find()
    assert found is not None
    assert found.name == "cinc-solo"


def test_its_report_is_read(stand_in: Program, node: Node) -> None:
    """What Chef changed comes back with its lines; what it kept for itself is gone."""
    updated = [{"resource": "file[/x]", "lines": ["change mode"]}]
    program = stand_in(report={"success": True, "error": None, "updated": updated})
    assert chef.converge(node, program, Actor(node.account)) == (chef.Update("file[/x]", ("change mode",)),)
    folder = Path(node.home) / "chef"
    assert sorted(path.name for path in folder.iterdir()) == ["attributes.json", "chef.log", "report.json", "solo.rb"]
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("status", "report", "said"),
    [
        (1, {"success": False, "error": "file[/x]: no room"}, "file[/x]: no room"),
        (1, None, "words"),
        (0, None, "words"),
    ],
)
def test_failures(status: int, report: object, said: str, stand_in: Program, node: Node) -> None:
    """The resource's message is passed on; a Chef that did nothing and exits with 0 has failed too."""
    with pytest.raises(CncpError) as failed:
        chef.converge(node, stand_in(status=status, report=report), Actor(node.account))
    assert failed.value.message == f"Chef failed: {said}"
    assert failed.value.hint == f"look at {node.home}/chef/chef.log"


@pytest.mark.parametrize(
    ("out", "err", "said"),
    [
        (
            "[now] FATAL: Stacktrace dumped\n[now] FATAL: SyntaxError: solo.rb:4\nbye\n",
            "warning: x\n",
            "SyntaxError: solo.rb:4",
        ),
        ("hello\n", "first\nlast\n", "last"),
        ("only this\n", "", "only this"),
        ("", "", "it exited with 3"),
    ],
)
def test_why_it_failed_without_a_report(out: str, err: str, said: str) -> None:
    """Its log says why, which is on stdout; stderr also holds warnings of Ruby's."""
    with pytest.raises(CncpError) as failed:
        chef._updates(None, Completed(("chef-solo",), 3, out.encode(), err), Path("/x/chef.log"))
    assert failed.value.message == f"Chef failed: {said}"


def test_its_configuration_is_utf8() -> None:
    """Ruby would read a path with letters as the locale says, and in the locale C refuse it."""
    assert chef.configuration(Path("/home/\u00fc/chef")).splitlines()[0] == "# encoding: utf-8"


def test_a_licence_is_never_accepted_for_anybody(stand_in: Program, node: Node) -> None:
    """Chef that was merely found is left out then; Chef that was asked for is an error."""
    engine = engine_choice.Engine("chef", "found", stand_in(status=172))
    done: list[str] = []
    actor, watch = Actor(node.account), Stopwatch(Console(quiet=True))
    used = engine_choice.converge(node, engine, actor, lambda: done.append("embedded"), watch)
    assert (used.name, done) == ("embedded", ["embedded"])
    assert "licence" in used.why
    with pytest.raises(chef.LicenceError):
        engine_choice.converge(insisting(node, "chef"), engine, actor, lambda: None, watch)
    assert engine_choice.plan(node, actor) is None


def test_which_engine_and_why(stand_in: Program, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded when asked for; Chef where it is; else Cinc where it can be had; else embedded, with the reason."""
    actor = Actor(node.account)

    def chosen(engine: str) -> tuple[str, str]:
        used = engine_choice.choose(insisting(node, engine), actor, {}, lambda _: None)
        return used.name, used.why

    with pytest.raises(PreflightError) as missing:
        chosen("chef")
    assert missing.value.exit_code == 4
    monkeypatch.setattr(cinc, "refusal", lambda *_: "no network")
    assert chosen("auto") == ("embedded", "no network")
    monkeypatch.setattr(cinc, "refusal", lambda *_: "")
    monkeypatch.setattr(Authority, "cinc", lambda _: Path("/opt/cinc/bin/cinc-solo"))
    assert chosen("auto") == ("chef", "Cinc was installed")

    def fail(*_: object) -> Path:
        raise CncpError("the digest differs", "")

    monkeypatch.setattr(Authority, "cinc", fail)
    assert chosen("auto") == ("embedded", "Cinc could not be installed: the digest differs")
    program = stand_in()
    assert chosen("auto") == ("chef", f"{program} is here")
    assert chosen("chef") == ("chef", "as set")
    assert chosen("embedded") == ("embedded", "as set")


def test_paths_are_quoted_for_ruby() -> None:
    """No path can end its string or be evaluated."""
    folder = Path("/tmp/it's #{x} \\")
    assert r"lockfile '/tmp/it\'s #{x} \\/state/lock'" in chef.configuration(folder)


def test_everything_chef_keeps_is_in_one_folder() -> None:
    """Each folder that Chef would put elsewhere is set."""
    lines = chef.configuration(Path("/home/u/cncp/chef")).splitlines()
    kept = {line.split()[0] for line in lines if "'/home/u/cncp/chef/state" in line}
    assert kept == {
        "cache_path",
        "checksum_path",
        "chef_guid_path",
        "file_backup_path",
        "file_cache_path",
        "lockfile",
        "node_path",
        "solo_d_dir",
    }


def test_chef_is_never_run_as_root_for_an_account(
    stand_in: Program, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units of the system are a step that the cookbook asks root for; Chef itself runs without sudo."""
    program = stand_in(report={"success": True, "error": None, "updated": []})
    said = tmp_path / "sudo.log"
    sudo = program.with_name("sudo")
    sudo.write_text(f'#!/bin/sh\necho "$@" >>{said}\nexit 1\n')
    sudo.chmod(0o755)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    actor = Actor(node.account)
    for scope in ("user", "system"):
        chef.converge(dataclasses.replace(node, scope=scope), program, actor)
    assert not said.exists()
