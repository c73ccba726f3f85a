"""Jupyter beside the controller, as far as it can be held without running it."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from cncp.config.inventory import HostSpec
from cncp.config.sources import SOURCE
from cncp.errors import CncpError, UsageError
from cncp.fleet import remote_jupyter
from cncp.machine import manifest, removal
from cncp.machine.actor import Actor
from cncp.machine.facts import gather
from cncp.machine.jupyter import browser, notebooks, service
from cncp.machine.jupyter.service import Access
from cncp.machine.node import Node
from cncp.machine.ops import steps
from cncp.machine.resources import File
from cncp.serve.jupyter import configuration, environment
from cncp.ssh import forward
from cncp.ssh.host_errors import HostError
from cncp.tasks import jupyter as tasks
from tests.unit.machine.test_choices import node

NOTEBOOKS = sorted((SOURCE / "notebooks").glob("*.ipynb"))


@pytest.fixture
def made(tmp_path: Path, home: Path) -> Node:
    """Return a node whose folders are there, as after the first steps of `cncp up`."""
    account = dataclasses.replace(gather({}).account, home=str(home))
    found = dataclasses.replace(
        node(jupyter=True, engines="1"),
        home=str(tmp_path / "c"),
        profile_dir=str(tmp_path / "profile"),
        account=account,
    )
    service.folder(found).mkdir(parents=True)
    return found


def test_it_runs_where_a_controller_is() -> None:
    """The setting is off by default, and a contradiction on a machine of engines."""
    assert "jupyter" not in node().services
    assert node(jupyter="yes").services[-1] == "jupyter"
    assert node(role="controller", jupyter="on").services == ("controller", "jupyter")
    assert node(role="engine").services == tuple(f"engine-{number}" for number in range(8))
    with pytest.raises(UsageError, match="Jupyter runs beside the controller"):
        node(role="engine", jupyter="true")


def test_where_it_is_not_is_said(made: Node) -> None:
    """On a machine without controller, and where it is switched off."""
    with pytest.raises(CncpError, match="which is on another machine"):
        tasks._access(dataclasses.replace(made, controller=False))
    with pytest.raises(CncpError, match="switched off here"):
        tasks._access(made)


def test_port_and_token_are_made_once(made: Node) -> None:
    """At mode 0600 from the start; a second run changes nothing, a lax mode is closed, what is damaged is made anew."""
    actor = Actor(made.account)
    path = service.access_path(made)
    assert len(service.outdated(made)) == 1
    assert service.write(made, actor) == [str(path)]
    first = service.load(made)
    assert first is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first.token) >= 40
    assert service.write(made, actor) == service.outdated(made) == []
    path.chmod(0o644)
    service.write(made, actor)
    assert (service.load(made), path.stat().st_mode & 0o777) == (first, 0o600)
    digest = service.digest(made)
    path.write_text("half")
    service.write(made, actor)
    second = service.load(made)
    assert second is not None
    assert second.token != first.token
    assert service.digest(made) != digest
    assert first.token not in repr(service.outdated(made)) + service.digest(made)
    assert service.outdated(node()) == []


def test_a_port_that_is_taken_is_named(made: Node) -> None:
    """Before the start, unless it is our own Jupyter that listens."""
    service.write(made, Actor(made.account))
    known = service.load(made)
    assert known is not None
    service.check(made, set())
    with socket.create_server(("127.0.0.1", known.port)):
        service.check(made, {"jupyter"})
        assert not service.answers(made)
        with pytest.raises(CncpError, match=f"port {known.port} is taken"):
            service.check(made, set())


def test_its_packages_restart_nothing_else(made: Node) -> None:
    """Controller and engines depend on what their lock says, unless requirements leave versions open."""
    stamp = Path(made.home) / "venv" / "cncp-installed.json"
    stamp.parent.mkdir()
    seen = []
    for content in (
        {},
        {"jupyter": "a"},
        {"jupyter": "b"},
        {"jupyter": "b", "requirements": "r"},
        {"requirements": "r"},
    ):
        stamp.write_text(json.dumps({"lock": "l", "requirements": "", **content}))
        services = steps.wanted(made).services
        seen.append((services["controller"], services["engine-0"], services["jupyter"]))
    assert seen[0][:2] == seen[1][:2] == seen[2][:2]
    assert len({digests[2] for digests in seen[:3]}) == 3
    assert seen[3][:2] != seen[4][:2]


def test_the_kernel_is_described(made: Node) -> None:
    """It is the virtualenv's Python in the cluster's profile; no description holds a secret."""
    service.write(made, Actor(made.account))
    known = service.load(made)
    assert known is not None
    files = {
        Path(resource.path).name: json.loads(resource.text())
        for resource in service.resources(made)
        if isinstance(resource, File)
    }
    assert files["kernel.json"]["argv"][0] == f"{made.home}/venv/bin/python"
    assert files["kernel.json"]["argv"][-2:] == ["--profile-dir", made.profile_dir]
    assert known.token not in json.dumps(files) + json.dumps(environment(made))
    assert list(service.resources(node())) == []


def test_jupyter_keeps_to_loopback_and_to_its_folder(made: Node) -> None:
    """Whatever it writes of its own is below one folder."""
    settings = configuration(made, Access(4711, "t"))
    server = settings["ServerApp"]
    assert (server["ip"], server["port"], server["port_retries"]) == ("127.0.0.1", 4711, 0)
    assert server["root_dir"] == made.account.home
    assert "preferred_dir" not in server
    folder = str(service.folder(made))
    folders = {key: value for key, value in environment(made).items() if key.startswith("JUPYTER_")}
    assert len(folders) == 4
    kept = [*folders.values(), settings["FileCheckpoints"]["root_dir"], *map(str, settings["LabApp"].values())]
    assert [path for path in kept if "/" in path and not path.startswith(folder)] == []


def test_notebooks_are_given_once(made: Node, home: Path) -> None:
    """What the user deleted stays deleted, what was changed stays at an uninstall, the rest is taken back."""
    actor = Actor(made.account)
    memory = manifest.load(steps.manifest_path(made))
    written = notebooks.offer(made, memory, actor)
    place = home / notebooks.FOLDER
    assert written == [str(place / notebook.name) for notebook in NOTEBOOKS]
    (place / NOTEBOOKS[0].name).unlink()
    (place / NOTEBOOKS[1].name).write_text("mine")
    memory = manifest.load(steps.manifest_path(made))
    assert notebooks.offer(made, memory, actor) == []
    removal.take_copies(memory, actor)
    assert [path.name for path in place.iterdir()] == [NOTEBOOKS[1].name]
    assert memory.made[str(place)] == ("login", "directory")


def test_a_folder_of_the_users_own_is_left_alone(made: Node, home: Path) -> None:
    """Where the folder is there already, nothing is copied."""
    (home / notebooks.FOLDER).mkdir()
    memory = manifest.load(steps.manifest_path(made))
    assert notebooks.offer(made, memory, Actor(made.account)) == []
    assert list((home / notebooks.FOLDER).iterdir()) == []


def test_copying_that_was_cut_off_goes_on(made: Node, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run makes all copies, and an uninstall knows of the first ones."""
    actor = Actor(made.account)
    memory = manifest.load(steps.manifest_path(made))
    write = actor.write

    def fail(path: Path, *given: Any) -> None:
        if path.name == NOTEBOOKS[1].name:
            raise KeyboardInterrupt
        write(path, *given)

    monkeypatch.setattr(actor, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        notebooks.offer(made, memory, actor)
    monkeypatch.undo()
    memory = manifest.load(steps.manifest_path(made))
    assert str(home / notebooks.FOLDER / NOTEBOOKS[0].name) in memory.copies
    assert len(notebooks.offer(made, memory, actor)) == len(NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_notebooks_are_clean(path: Path) -> None:
    """Without outputs, for any Python 3 kernel, with the identifiers that their format asks for."""
    book = json.loads(path.read_text())
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", cell["id"])
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_a_browser_is_opened_without_the_token_on_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens a file that only the user can read, which sends it on."""
    opened: list[str] = []

    def take(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", take)
    assert browser.show(Access(8888, "s3cret"), tmp_path / "open.html")
    assert opened == [(tmp_path / "open.html").as_uri()]
    assert (tmp_path / "open.html").stat().st_mode & 0o777 == 0o600
    assert 'url=http://127.0.0.1:8888/lab?token=s3cret"' in (tmp_path / "open.html").read_text()
    assert browser.can_open({"WAYLAND_DISPLAY": "w"})
    assert not browser.can_open({"DISPLAY": ""})


def test_a_tunnel_has_the_same_port_where_that_is_free() -> None:
    """Else another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = forward.local_port(port)
        assert other != port
    assert forward.local_port(other) == other


def test_hosts_are_named_as_everywhere() -> None:
    """User and port belong to the name; what could be an option of ssh is refused."""
    assert remote_jupyter.host("ada@gold1:2222") == HostSpec("gold1", user="ada", port=2222)
    for wrong in ("-oProxyCommand=x", "a b", "", "gold1:0"):
        with pytest.raises(UsageError):
            remote_jupyter.host(wrong)


@pytest.mark.parametrize(
    ("status", "said", "message", "hint"),
    [
        (127, "sh: 1: .local/bin/cncp: not found", "there is no ~/.local/bin/cncp", "--jupyter=true"),
        (1, "error: Jupyter is switched off here\nhint: do x\n", "Jupyter is switched off here", "there: do x"),
        (2, "", "cncp jupyter.token exited with 2", "cncp check"),
    ],
)
def test_what_a_host_answers_instead(status: int, said: str, message: str, hint: str) -> None:
    """Its own two lines are handed on."""
    refusal = remote_jupyter._refusal(HostSpec("gold1"), status, said)
    assert isinstance(refusal, HostError)
    assert (refusal.host, refusal.message) == ("gold1", message)
    assert hint in refusal.hint
