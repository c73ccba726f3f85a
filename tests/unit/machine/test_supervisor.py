"""What supervisord reads, with homes of any name, and where it is begun."""

from __future__ import annotations

import dataclasses
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from xmlrpc.client import Fault

import pytest

from cncp import supervisord
from cncp.machine.actor import Actor
from cncp.machine.services import login_session, supervisor
from cncp.machine.services.base import command
from cncp.machine.services.processes import Found, Ours
from cncp.machine.services.supervisor import Supervisor
from cncp.machine.services.systemd import quote
from tests.unit.machine.test_choices import node

READ = """
import sys
from pathlib import Path
from cncp import supervisord
supervisord._prepare(Path(sys.argv[2]))
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", sys.argv[2]])
print(repr([group.process_configs[0].command for group in options.process_group_configs]))
print(options.logfile, options.minfds, options.minprocs, options.identifier)
print(options.process_group_configs[0].process_configs[0].stdout_logfile)
"""

HOMES = [
    "plain",
    "per%cent",
    "br[a]ck",
    "a b",
    "it's",
    'q"q',
    "a #b",
    "a ;b",
    "$x`y",
    "back\\slash",
    "tail ",
    "ü",
    "*?",
]


@pytest.mark.parametrize("name", HOMES)
def test_a_home_of_any_name(tmp_path: Path, name: str) -> None:
    """Supervisord runs the command that is meant, with files where they are meant, whatever the path holds."""
    made = dataclasses.replace(node(engines="1", service_manager="supervisor"), home=str(tmp_path / name / "cncp"))
    made.run_dir.mkdir(parents=True)
    services = {"controller": "d", "engine-0": "d"}
    for file in Supervisor.files(made, services):
        path = Path(file.path)
        if hasattr(file, "text"):
            path.write_text(file.text())
        else:
            path.mkdir(parents=True, exist_ok=True)
    configuration = str(Path(made.home, "supervisor", "supervisord.conf"))
    code = Path(supervisord.__file__).parents[1]
    argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(code)!r})\n" + READ, "-c", configuration]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    commands, main, out = done.stdout.splitlines()
    assert [shlex.split(line) for line in eval(commands)] == [command(made, service, "d") for service in services]  # noqa: S307
    assert main == f"{made.run_dir}/supervisord.log 64 1 {supervisor._identity()}"
    # Below the run folder, where it is.
    assert out == "controller.out"


def test_few_files_are_enough() -> None:
    """What supervisord demands is below every limit that a login node sets; it opens what it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == resource.RLIM_INFINITY or hard >= 64
    assert "minprocs = 1\n" in supervisor._MAIN


def test_units_hold_words_of_any_kind() -> None:
    """A line of a unit stays one."""
    assert quote('a\nb"$%\\') == '"a\\nb\\"$$%%\\\\"'


def test_where_services_are_kept_is_nobodys_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's shell, and where logind ends sessions, in the user's own manager if it lingers."""
    made = node(service_manager="supervisor")
    plain = login_session.begin(made)
    assert plain[0] == "env"
    assert {"CNCP_SERVICE", "TMUX", "PYTHONPATH", "LD_LIBRARY_PATH"} <= set(plain)
    monkeypatch.setattr(login_session, "_logout_kills", lambda _: True)
    monkeypatch.setattr(login_session, "lingers", lambda _: True)
    monkeypatch.setattr(login_session, "_user_manager", lambda _: Path("/"))
    assert login_session.begin(made)[-6:] == ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]
    monkeypatch.setattr(login_session, "lingers", lambda _: False)
    assert login_session.begin(made) == plain


def test_what_ends_at_logout_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where what keeps services is of a session, and logind ends sessions whole."""
    made = node(service_manager="supervisor")
    kept = Ours((), (Found("", 7, 1),))
    monkeypatch.setattr(login_session, "ours", lambda _: kept)
    monkeypatch.setattr(login_session, "_logout_kills", lambda _: True)
    monkeypatch.setattr(login_session, "lingers", lambda _: False)
    monkeypatch.setattr(login_session, "_group", lambda _: "0::/user.slice/user-1000.slice/session-3.scope")
    assert "loginctl enable-linger ada" in login_session.mortal(made)
    monkeypatch.setattr(login_session, "_group", lambda _: "0::/user.slice/user@1000.service/app.slice/x.scope")
    assert login_session.mortal(made) == ""
    assert login_session.mortal(node(service_manager="systemd")) == ""


@pytest.mark.parametrize("stop", ["stop", "reload"])
def test_what_has_just_ended_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    """Supervisord does not stop what has ended a moment ago, and would start it again after that."""
    made = dataclasses.replace(node(engines="1", service_manager="supervisor"), home=str(tmp_path))
    states = ["EXITED", "EXITED", "RUNNING"]
    asked = []

    def call(_: Supervisor, method: str, *arguments: object) -> object:
        asked.append(method)
        if method == "getIdentification":
            return supervisor._identity()
        if method == "reloadConfig":
            return [[[], [], ["engine-0"]]]
        if method == "getAllProcessInfo":
            return [{"name": "engine-0", "statename": states[0]}, {"name": "engine-1", "statename": "EXITED"}]
        if method == "stopProcess":
            assert arguments == ("engine-0", True)
            if states.pop(0) == "EXITED":
                raise Fault(70, "NOT_RUNNING: engine-0")
            states.append("STOPPED")
        if method == "removeProcessGroup" and states != ["STOPPED"]:
            raise Fault(91, "STILL_RUNNING: engine-0")
        return True

    monkeypatch.setattr(Supervisor, "_call", call)
    monkeypatch.setattr("os.geteuid", lambda: made.account.uid)
    manager = Supervisor(made, Actor(made.account))
    if stop == "stop":
        manager.stop(["engine-0"])
    else:
        manager.reload()
    assert states == ["STOPPED"]
    assert asked.count("stopProcess") == 3
