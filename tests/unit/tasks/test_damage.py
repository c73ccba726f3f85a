"""Damage to every file of ours, and every verb on it: an answer or an error of ours, and never a traceback."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cncp import files, pidfile
from cncp.config.asked import request
from cncp.config.inventory import HostSpec
from cncp.config.sources import Kept
from cncp.errors import CncpError
from cncp.fleet import registry
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files, login_environment, manifest
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.jupyter import service
from cncp.machine.node import Node
from cncp.machine.ops import apply, lifecycle, steps
from cncp.machine.services import crontab, processes, supervisor
from cncp.ssh.pool import Crew
from cncp.tasks import program

DAMAGE: dict[str, bytes | None] = {
    "folder": None,
    "list": b"[]",
    "empty": b"",
    "not UTF-8": b"\xff\xfe{}",
    "of no type": b'{"settings": 5, "made": 5, "hosts": 5, "gates": 5, "tunnels": 5, "pid": "x", "key": []}',
    "deep": b"[" * 50000,
}
"""What a file of ours becomes; None is a folder in its place."""

OPENED: set[str] = set()
"""Every path that this process has opened since it was last emptied."""


def _opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        OPENED.add(os.fspath(arguments[0]))


sys.addaudithook(_opened)

VERBS = (
    "status",
    "check",
    "plan",
    "logs",
    "jupyter.token",
    "keys.show",
    "firewall --kind ufw",
    "connect --status",
    "down",
)
"""What can be asked of a cluster that does not run."""

UNREADABLE = ("empty", "not UTF-8")
"""Forms that the same functions refuse, whichever verb has a file read: shown to those that change nothing."""

CHANGES = ("scale 2", "restart", "keys.rotate", "uninstall")
"""What changes it or takes it away: stopped, it stays so, and its manager is not to be started here."""

IN_HOME = (
    "fleet.json",
    "gates.json",
    "install.lock",
    "jupyter/access.json",
    "kept.json",
    "lock",
    "manifest.json",
    "node.json",
    "parents",
    "run/controller.json",
    "run/engine-0.exits",
    "run/engine-0.json",
    "run/supervisord.log",
    "run/supervisor.sock",
    "supervisor/supervisord.conf",
    "tunnels/tunnels.json",
    "venv/cncp-installed.json",
)
IN_PROFILE = (
    "cncp.json",
    "ipcontroller_config.py",
    "log/engine-0.log",
    "log/engines.json",
    "pid/cncp-connect.json",
    "security/cluster-.json",
    "security/cncp-identity.json",
    "security/ipcontroller-client.json",
    "security/ipcontroller-engine.json",
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Return a cluster with all its files, of which nothing runs."""
    # Short enough for supervisord's socket.
    place = Path(f"/tmp/cncp-{os.getpid()}-damage")
    monkeypatch.setenv("CNCP_HOME", str(place))
    for name in ("add", "remove"):
        monkeypatch.setattr(crontab, name, lambda *_: "")
    # Nobody answers, and nobody waits for that.
    monkeypatch.setattr(Hub, "_request", _silence)
    # Nor for a disk, or for the shell of whoever runs this.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(login_environment, "ask", lambda *_: None)
    # What else runs on this machine is not looked through a thousand times.
    monkeypatch.setattr(processes, "of_account", lambda _: iter((os.getpid(),)))
    flags = {"engines": "1", "service_manager": "supervisor", "converge": "embedded", "jupyter": "true"}
    made = apply.describe(request(os.environ, file=None, flags=flags, forget=True))
    actor = Actor(made.account)
    place.mkdir()
    try:
        memory = manifest.load(steps.manifest_path(made))
        for _ in ("folders", "files, which have the keys in their digests"):
            goal = steps.wanted(made)
            memory.claim(tuple(goal.resources), actor)
            embedded.apply(embedded.changes(goal.resources), actor)
            connection_files.write(made, actor)
            service.write(made, actor)
        lifecycle.remember(made.account, place, Kept({}), flags, None)
        pidfile.write(made.run_dir, "engine-0", "d", "u")
        yield made
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("name", [*IN_HOME, *IN_PROFILE])
def test_no_damage_makes_a_traceback(name: str, cluster: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb ends with an exit code of ours, and what it complains of has a hint."""
    path = _path(cluster, name)
    for verb in VERBS:
        for damage, content in _damages(path):
            _put(path, content)
            _answered(verb, f"{name} {damage}", capsys)


@pytest.mark.parametrize("name", [*IN_HOME, *IN_PROFILE])
def test_nor_do_verbs_that_change_it(
    name: str, cluster: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them begins with the cluster as it was before, but for the damage; nothing is started."""
    for method in ("reload", "start"):
        monkeypatch.setattr(supervisor.Supervisor, method, _not_started)
    places = (Path(cluster.home), Path(cluster.profile_dir))
    for folder in places:
        shutil.copytree(folder, tmp_path / "whole" / folder.name, symlinks=True)
    path = _path(cluster, name)
    for verb in CHANGES:
        for damage, content in _damages(path, without=UNREADABLE):
            for folder in places:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(tmp_path / "whole" / folder.name, folder, symlinks=True)
            _put(path, content)
            said = _answered(verb, f"{name} {damage}", capsys)
            if verb == "uninstall" and (damage != "folder" or name == "kept.json"):
                assert not Path(cluster.home).exists(), (f"{name} {damage}", said)


def test_whole_files_are_no_error(cluster: Node) -> None:
    """The table is of a cluster on which the verbs do their work, so that damage is damage."""
    assert cluster.services
    verbs = ("status", "plan", "logs", "jupyter.token", "keys.show", "down")
    assert [verb for verb in verbs if program.answer([verb])] == []


@pytest.mark.parametrize("lost", ["kept.json", "kept.json and fleet.json", "cluster.toml"])
def test_hosts_that_nothing_names_any_more_are_uninstalled(
    lost: str, cluster: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the record of the file in use is damaged, or that file gone; what cannot be known is said."""
    home = Path(cluster.home)
    far = registry.Placed("far", "/home/ada/.local/share/cncp", "/home/ada/x", {}, (), HostSpec("far", user="ada"))
    registry.save(home, {"far": far})
    files.write_atomic(home / "kept.json", files.to_json({"settings": {}, "file": str(tmp_path / "cluster.toml")}))
    if "kept.json" in lost:
        (home / "kept.json").write_bytes(b"{")
    if "fleet.json" in lost:
        (home / "fleet.json").write_bytes(b"{")
    asked: list[list[str]] = []
    monkeypatch.setattr(Crew, "connect", lambda crew: asked.append([host.name for host in crew.specs]))
    said = _answered("uninstall", lost, capsys)
    assert any("which hosts the cluster has is not known" in line for line in said)
    assert not home.exists()
    assert asked == [[] if "fleet.json" in lost else ["far"]]
    assert ("fleet.json is damaged as well" in said[0]) == ("fleet.json" in lost)


def _damages(path: Path, without: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes | None]]:
    """Yield each damage; what a file holds matters only to a verb that has opened it."""
    for number, (damage, content) in enumerate(DAMAGE.items()):
        if number == 2 and str(path) not in OPENED:
            return
        if number < 2:
            OPENED.clear()
        if damage not in without:
            yield damage, content


def _path(cluster: Node, name: str) -> Path:
    return Path(cluster.home if name in IN_HOME else cluster.profile_dir) / name


def _answered(verb: str, damage: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    try:
        code = program.answer(verb.split())
    except Exception as error:  # noqa: BLE001  # any of them is what this is about
        pytest.fail(f"{verb}, {damage}: {error!r}")
    said = capsys.readouterr().err.splitlines()
    assert code in (0, 1, 2, 4), (verb, damage, said)
    errors = [line for line in said if line.startswith("error: ")]
    hints = [line for line in said if line.startswith("hint: ")]
    assert len(errors) == len(hints) <= 1, (verb, damage, said)
    return said


def _not_started(*_: object) -> NoReturn:
    raise CncpError("nothing is started in this test", "none")


def _silence(*_: object) -> NoReturn:
    raise NoAnswer("the controller did not answer", "look at: cncp status")


def _put(path: Path, content: bytes | None) -> None:
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
