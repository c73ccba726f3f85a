"""Undoing a cluster of which parts are lost: what is ours goes, what is not stays, and what is not known is said."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cncp import accounts, remote
from cncp.accounts import Account
from cncp.console import Console
from cncp.errors import CncpError
from cncp.files import to_json
from cncp.machine import manifest, removal
from cncp.machine.actor import Actor
from cncp.machine.ops import bare_uninstall
from cncp.machine.resources import File
from cncp.managed_block import BEGIN, END

BOOTSTRAP = Path(__file__).resolve().parents[3] / "bootstrap"


class Left:
    """A home as a cluster and its user leave it."""

    def __init__(self, own: Path) -> None:
        self.own = own
        self.home = own / ".local" / "share" / "cncp"
        self.profile = own / ".ipython" / "profile_cncp"
        self.mine = own / ".ipython" / "profile_default" / "history.sqlite"
        self.command = own / ".local" / "bin" / "cncp"
        for path, text in {
            self.home / "run" / "engine-0.json": "{}",
            self.command: f"#!/bin/sh\n{removal.COMMAND_MARK}: x\nCNCP_HOME='{self.home}'\n",
            self.profile / "cncp.json": "{}",
            self.profile / "log" / "engine-0.log": "said",
            self.profile / "log" / "engines.json": "{}",
            self.profile / "security" / "cncp-identity.json": "secret",
            self.profile / "security" / "ipcontroller-client.json": "secret",
            self.profile / "security" / "cluster-.json": to_json({"home": str(self.home)}).decode(),
            self.profile / "ipcontroller_config.py": f"{BEGIN}\nx\n{END}\n",
            self.profile / "ipengine_config.py": f"{BEGIN}\nx\n{END}\n\nmine = 1\n",
            self.mine: "mine",
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def files(self) -> set[str]:
        """Return what files there are."""
        return {str(path.relative_to(self.own)) for path in self.own.rglob("*") if path.is_file()}

    def uninstall(self) -> list[str]:
        """Undo it without its virtualenv."""
        return bare_uninstall.uninstall(self.home, accounts.account(os.environ), Console(quiet=True))


STAYS = {".ipython/profile_default/history.sqlite", ".ipython/profile_cncp/ipengine_config.py"}


@pytest.mark.parametrize("profile", [None, 5, "/p"])
def test_units_of_the_system_are_roots(home: Path, profile: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the record of the node says: without root they would be left, and run what is gone."""
    left = Left(home)
    (left.home / "node.json").write_bytes(to_json({"scope": "system", "profile_dir": profile}))
    before = left.files()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CncpError, match="units of the system run this cluster"):
        bare_uninstall.uninstall(left.home, Account("ada", 1000, 1000, str(home)), Console(quiet=True))
    assert left.files() == before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"made": 5}', None])
def test_without_its_memory(home: Path, damage: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys, command and profile are recognised; what the user added stays, and it is said that not all is known."""
    left = Left(home)
    if damage is not None:
        (left.home / "manifest.json").write_text(damage)
    # A copy of what stood there before us is found by the name of its place.
    before = left.home / "before" / hashlib.sha256(str(left.command).encode()).hexdigest()[:16]
    before.parent.mkdir()
    before.write_text("an older one")
    named = left.uninstall()
    assert left.files() == {*STAYS, ".local/bin/cncp"}
    assert left.command.read_text() == "an older one"
    assert (left.profile / "ipengine_config.py").read_text() == "mine = 1\n"
    assert "is lost, in which stood what was written" in capsys.readouterr().err
    assert any(path.endswith("history.sqlite") for path in named)


def test_of_another_cluster_nothing_goes(home: Path) -> None:
    """A profile and a command that name another home stay."""
    left = Left(home)
    (left.profile / "security" / "cluster-.json").write_text('{"home": "/elsewhere"}')
    left.command.write_text(f"{removal.COMMAND_MARK}\nCNCP_HOME='/elsewhere'\n")
    left.uninstall()
    assert ".ipython/profile_cncp/security/cncp-identity.json" in left.files()
    assert left.command.exists()
    assert not left.home.exists()


def test_former_places_are_cleaned_too(home: Path) -> None:
    """What services wrote into a profile that a setting has moved since goes as well."""
    left = Left(home)
    former = home / "other" / "profile_cncp"
    (former / "log").mkdir(parents=True)
    (former / "log" / "engine-1.log").touch()
    memory = manifest.Manifest(left.home / "manifest.json")
    memory.made = {str(folder): ("login", "directory") for folder in (former.parent, former, former / "log")}
    removal.written(memory, [left.profile], Actor(accounts.account(os.environ)))
    assert removal.folders(memory, left.home, Actor(accounts.account(os.environ))) == []
    assert not former.parent.exists()
    assert not (left.profile / "log" / "engine-0.log").exists()


def test_what_is_left_is_named(tmp_path: Path) -> None:
    """Not the folder of ours, but the file in it that is not."""
    folder = tmp_path / "a"
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "c" / "theirs").touch()
    for number in range(4):
        (folder / f"x{number}").touch()
    memory = manifest.Manifest(tmp_path / "home" / "manifest.json")
    memory.made = {str(folder): ("login", "directory")}
    found = removal.folders(memory, tmp_path / "home", Actor(accounts.account(os.environ)))
    assert found == sorted([str(folder / "b/c/theirs"), str(folder / "x0"), str(folder / "x1"), f"{folder}: 2 more"])


def test_processes_are_ended_by_what_they_are(home: Path, tmp_path: Path) -> None:
    """Services of this home end, by force where they ignore a signal; those of another home go on."""
    left, other = Left(home), tmp_path / "other"
    code = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    (tmp_path / "cncp").mkdir()
    (tmp_path / "cncp" / "remote.py").write_text(code)
    words = [sys.executable, "-m", "cncp.remote", "serve", "engine", "--node"]
    ours, theirs = (
        subprocess.Popen([*words, f"{folder}/node.json"], stdout=subprocess.PIPE, cwd=tmp_path)
        for folder in (left.home, other)
    )
    try:
        for process in (ours, theirs):
            assert process.stdout is not None
            process.stdout.readline()
        assert list(bare_uninstall.processes(left.home, os.geteuid())) == [ours.pid]
        bare_uninstall._signal([ours.pid], signal.SIGKILL)
        ours.wait()
        assert bare_uninstall.end(left.home, os.geteuid()) == 0
        assert theirs.poll() is None
    finally:
        for process in (ours, theirs):
            process.kill()
            process.wait()


def test_it_needs_the_standard_library_alone() -> None:
    """The way out works with any Python, where the virtualenv is gone."""
    code = f"import sys; sys.path.insert(0, {str(BOOTSTRAP)!r}); import uninstall, cncp.machine.ops.bare_uninstall"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)


def test_a_virtualenv_without_a_package_names_the_way_out(tmp_path: Path) -> None:
    """Not a traceback: what is lacking, and what mends it or takes all of it away."""
    code = (
        "import runpy, sys; sys.modules['zmq'] = None; sys.modules['invoke'] = None; "
        "sys.argv = ['cncp', *sys.argv[1:]]; runpy.run_module('cncp', run_name='__main__')"
    )
    for verb, said in (
        ("status", "the virtualenv of this cluster is damaged"),
        ("uninstall", "no cluster"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, verb],
            env={**os.environ, "PYTHONPATH": str(BOOTSTRAP), "CNCP_HOME": str(tmp_path / "none")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_what_is_ours_is_not_taken_for_the_users(home: Path) -> None:
    """Where the memory was lost before another `up`, its keys are not put back as what stood there before."""
    left = Left(home)
    account = accounts.account(os.environ)
    folders = [home / ".ipython"]
    memory = removal.remembered(left.home, home, folders, home)
    command, identity = str(left.command), str(left.profile / "security" / "cncp-identity.json")
    memory.claim(
        (File(command, 0o755, "home", content="x"), File(identity, 0o600, "profile", content="y")), Actor(account)
    )
    assert memory.kept == {}
    assert {command, identity} <= set(manifest.load(left.home / "manifest.json").made)
    assert left.uninstall() != []
    assert left.files() == STAYS


def test_what_has_still_to_tell_a_hub_is_ended(home: Path, tmp_path: Path) -> None:
    """It ignores what service managers end an engine with, and would wait for a hub that is gone."""
    left, other = Left(home), tmp_path / "other"
    (tmp_path / "cncp").mkdir()
    code = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    (tmp_path / "cncp" / "remote.py").write_text(code)
    ours, theirs = (
        subprocess.Popen(
            [f"{folder}/venv/bin/python", *remote.command("death", "file")],
            executable=sys.executable,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
        )
        for folder in (left.home, other)
    )
    try:
        for process in (ours, theirs):
            assert process.stdout is not None
            process.stdout.readline()
        bare_uninstall.end_tellers(left.home, os.geteuid())
        assert ours.wait(30) == -signal.SIGKILL
        assert theirs.poll() is None
    finally:
        for process in (ours, theirs):
            process.kill()
            process.communicate()
