"""Service managers: a table of ours, those of other packages beside it, and what each says of itself."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cncp.accounts import Account
from cncp.config import settings
from cncp.errors import CncpError, PreflightError, UsageError
from cncp.machine import services
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.node import Node, kept_by
from cncp.machine.root import step
from cncp.machine.services import MANAGERS, crontab, login_session, manager_kind, service_manager, systemd
from cncp.machine.services.multiplexer import ScreenSessions, TmuxSessions
from cncp.machine.services.supervisor import Supervisor
from cncp.machine.services.systemd import Systemd
from cncp.records import Misfit

from ..elsewhere import install
from .test_choices import node

LOOPS = '''\
"""A service manager of somebody else's: nothing is kept, and everything noted."""
from cncp.machine.resources import File
from cncp.machine.services import ServiceManager, ServiceState


class Loops(ServiceManager):
    name = "loops"

    @classmethod
    def files(cls, node, services):
        return [File(f"{node.home}/loops/{name}", 0o600, "units", content=digest) for name, digest in services.items()]

    def states(self):
        return {"engine-0": ServiceState("engine-0", True, 7)}

    def keepers(self):
        return {6}

    def start(self, services):
        raise KeyError("engine-0")

    def stop(self, names):
        pass


class Picky(Loops):
    name = "picky"
    program = "no-such-program"

    @classmethod
    def files(cls, node, services):
        return 1 / 0

    def attach_command(self, name):
        raise LookupError(name)
'''


@pytest.fixture
def loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the package of somebody else's installed, and be the account of all nodes."""
    points = {"loops": "loops:Loops", "picky": "loops:Picky", "lost": "lost:Loops", "number": "loops:__name__"}
    install(tmp_path / "packages", "loops", {"loops": LOOPS}, {"cncp.service_managers": points})
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, "loops", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


OURS: dict[type[services.ServiceManager], tuple[str, str, str, bool, bool, bool]] = {
    Systemd: ("systemd", "", "", False, True, True),
    Supervisor: ("supervisor", "", "", True, True, False),
    TmuxSessions: ("tmux", "tmux", "Ctrl-b d", True, False, False),
    ScreenSessions: ("screen", "screen", "Ctrl-a d", True, False, False),
}
"""Ours: name, program, keys to leave, of a login, keeps output, ends all that a service began."""


def test_ours_are_a_table() -> None:
    """Each is found by the name that it has, and says of itself what others go by."""
    found = {kind: MANAGERS.find(kind.name, "") for kind in OURS}
    assert list(MANAGERS.ours) == [kind.name for kind in OURS]
    assert all(kind is known for kind, known in found.items())
    assert {
        kind: (kind.name, kind.program, kind.leave, kind.of_login, kind.keeps_output, kind.ends_all) for kind in OURS
    } == OURS


def test_nothing_else_names_them() -> None:
    """What is special to a service manager is said by itself: modules that others go through name none but systemd."""
    code = Path(services.__file__).parents[2]
    others = ("machine/ops/attach.py", "machine/ops/doctor.py", "machine/ops/steps.py", "machine/ops/apply.py")
    for file in (*others, "machine/desired.py", "machine/facts.py", "serve/__main__.py", "serve/log_files.py"):
        source = (code / file).read_text()
        assert [name for name in MANAGERS.ours if f'"{name}"' in source] == [], file


def test_what_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not, or a path that is too long, is said before anything is changed."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PreflightError) as caught:
        services.insist(node(service_manager="screen", engines="1"))
    assert (caught.value.message, caught.value.hint) == (
        "there is no screen on this machine",
        "install the package screen",
    )
    services.insist(dataclasses.replace(node(service_manager="screen"), controller=False, engine_ids=()))
    services.insist(node(service_manager="supervisor", engines="1"))
    long = dataclasses.replace(node(service_manager="supervisor", engines="1"), home="/" + "h" * 90)
    with pytest.raises(PreflightError, match="too long a path"):
        services.insist(long)


def test_one_of_another_package(loops: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is set by its name, chosen as set, and has of the rest what all have."""
    made = node(service_manager="loops", engines="1")
    assert (made.manager, made.scope, made.why) == ("loops", "user", "as set")
    assert kept_by(made.manager, made.scope) == "loops"
    services.insist(made)
    assert Node.from_json(made.to_json(), "it") == made
    assert node(service_manager="loops", past=made).manager == "loops"
    (file,) = services.manager_files(made, {"engine-0": "d1"})
    assert file.path == "/h/loops/engine-0"
    manager = service_manager(made, Actor(made.account))
    assert manager.states()["engine-0"].pid == 7
    assert manager.keepers() == {6}
    manager.stop(["engine-0"])
    manager.reload()
    manager.clean_up()
    assert manager.attach_command("engine-0") == ["tail", "-F", "/i/profile_cncp/log/engine-0.log"]
    told: list[Any] = []

    def add(_actor: Actor, _node: Node, argv: list[str]) -> str:
        told.append(argv)
        return ""

    monkeypatch.setattr(crontab, "add", add)
    monkeypatch.setattr(crontab, "remove", lambda *_: told.append("removed"))
    monkeypatch.setattr(login_session, "mortal", lambda _: "")
    assert manager.persist() == ""
    manager.forget()
    assert told == [["/home/ada/.local/bin/cncp", "restart", "--quiet"], "removed"]


def test_its_faults_are_told_as_such(loops: None) -> None:
    """Whatever it raises is one of our errors, with its name and whose fault it is."""
    made = node(service_manager="loops", engines="1")
    with pytest.raises(CncpError, match=r"start of the service manager loops ended with KeyError") as caught:
        service_manager(made, Actor(made.account)).start({"engine-0": "d"})
    assert "a fault of loops" in caught.value.hint
    with pytest.raises(CncpError, match=r"files of the service manager picky ended with ZeroDivisionError"):
        services.manager_files(dataclasses.replace(made, manager="picky"), {})
    with pytest.raises(CncpError, match=r"attach_command of the service manager picky ended with LookupError"):
        service_manager(dataclasses.replace(made, manager="picky"), Actor(made.account)).attach_command("engine-0")
    with pytest.raises(PreflightError, match="there is no no-such-program on this machine"):
        services.insist(dataclasses.replace(made, manager="picky"))
    for name, said in {"lost": "cannot be imported", "number": "is none: loops:__name__ is no ServiceManager"}.items():
        with pytest.raises(CncpError, match=said):
            services.insist(dataclasses.replace(made, manager=name))


def test_a_name_that_nobody_has(loops: None) -> None:
    """One that is nearly ours is refused with the settings, any other where packages are known."""
    for wrong in ("systmd", "supervisord", "tmx", "scren", "Systemd", "a b", "-x", "", 3):
        with pytest.raises(UsageError, match="service_manager"):
            settings.parse("service_manager", wrong, "cluster.toml")
    assert settings.parse("service_manager", "loop", "cluster.toml") == "loop"
    with pytest.raises(UsageError) as caught:
        services.insist(node(service_manager="loop", engines="1"))
    assert caught.value.message == "service_manager: there is no service manager 'loop'"
    assert caught.value.hint == "did you mean loops?"
    for manager, scope in (("loops", "system"), ("../x", "user"), ("", "user")):
        document = {**node(service_manager="loops").to_json(), "manager": manager, "scope": scope}
        with pytest.raises(Misfit, match="service manager"):
            Node.from_json(document, "it")


@pytest.mark.parametrize("wrong", [{"scope": "system"}, {"memory": "1G"}, {"logs": "journal"}])
def test_what_is_systemds_alone(wrong: dict[str, Any]) -> None:
    """Another one, of whomever, is of the user and limits nothing."""
    with pytest.raises(UsageError, match="contradict each other"):
        node(service_manager="loops", **wrong)


def test_root_runs_none_of_an_accounts(loops: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an account has installed is run with its rights: root refuses, and its step knows systemd alone."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    made: Node = node(service_manager="loops", engines="1")
    with pytest.raises(CncpError, match="run as ada alone"):
        manager_kind(made)
    assert "loops" not in sys.modules
    ada = Account("ada", 1000, 1000, "/home/ada")
    asked = {
        "do": "units",
        "home": "/home/ada/c",
        "login": "/home/ada",
        "host": "gold",
        "instance": "",
        "profile": "cncp",
        "memory": "none",
        "manager": "loops",
        "services": {},
    }
    seen: list[Node] = []

    def files(node: Node, _: object) -> list[Any]:
        seen.append(node)
        return []

    monkeypatch.setattr(systemd, "files", files)
    monkeypatch.setattr(systemd, "stale", lambda *_: ())
    monkeypatch.setattr(step, "_own", lambda *_: None)
    monkeypatch.setattr(systemd, "check_owner", lambda _: None)
    monkeypatch.setattr(embedded, "apply", lambda *_: None)
    assert step.perform(ada, asked).to_json() == {"changed": []}
    assert [made.manager for made in seen] == ["systemd"]
