"""What services have of whatever starts them: the table, and that nothing else gets through."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cncp import inheritance
from cncp.inheritance import MARK, environment
from cncp.machine import login_environment
from cncp.machine.actor import Actor
from cncp.machine.facts import gather
from cncp.machine.node import NODE, Node
from tests.unit.machine.test_choices import node

CODE = Path(__file__).resolve().parents[3] / "bootstrap"

BEGINS = "cncp: the login begins here\n"

TELL = """
import json, os, resource, signal, sys
sys.path.insert(0, CODE)
sys.orig_argv[1:] = ["-c", "ME", "engine", "0", "--node", NODE, "--digest", "d"] and sys.orig_argv[1:]
from cncp import inheritance
assert inheritance.begin(["engine", "0", "--node", NODE, "--digest", "d"])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
names = {number: number.name for number in signal.Signals if number < 32}
print(json.dumps({
    "environment": dict(os.environ),
    "stdin": os.readlink("/proc/self/fd/0"),
    "others": sorted(set(os.listdir("/proc/self/fd")) & {"7", "8", "9"}),
    "blocked": int(status["SigBlk"], 16),
    "ignored": [name for number, name in names.items() if signal.getsignal(number) is signal.SIG_IGN],
    "umask": os.umask(0),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "nice": os.nice(0),
    "oom": int(open("/proc/self/oom_score_adj").read()),
    "folder": os.getcwd(),
    "terminal": int(open("/proc/self/stat").read().rpartition(")")[2].split()[4]),
    "leads": os.getpgrp() == os.getpid(),
}))
"""


@pytest.fixture
def made(tmp_path: Path) -> Node:
    """A node of this account under supervisord, written down, with a login of its own."""
    account = dataclasses.replace(gather({}).account, home=str(tmp_path))
    made = dataclasses.replace(
        node(engines="1", service_manager="supervisor", environment="MINE='a b' LD_LIBRARY_PATH=/opt/lib"),
        account=account,
        home=str(tmp_path / "cncp"),
    )
    Path(made.home).mkdir()
    Path(made.home, "environment").write_text(f"{made.settings.environment}\n")
    Path(made.home, "node.json").write_text(json.dumps(made.to_json()))
    found = {"umask": 0o027, "variables": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}}
    Path(made.home, "login.json").write_text(json.dumps(found))
    return made


HOSTILE = {
    "PATH": "/evil:/usr/bin",
    "LD_PRELOAD": "",
    "PYTHONSTARTUP": "/evil",
    "SUPERVISOR_ENABLED": "1",
    "TMUX": "x",
    "FOO": "1",
    "HOME": "/",
}


def told(made: Node, hostile: Mapping[str, str] = HOSTILE) -> dict[str, Any]:
    """Begin a service in hostile surroundings, and return what it then has."""

    def spoil() -> None:
        os.setsid()
        os.umask(0o777)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGQUIT, signal.SIGUSR1):
            signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR2])
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        os.nice(5)
        os.chdir("/")
        for number in (7, 8, 9):
            os.dup2(2, number)

    terminal, other = os.openpty()
    code = TELL.replace("CODE", repr(str(CODE))).replace("NODE", repr(f"{made.home}/node.json"))
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=other, capture_output=True, text=True, check=False, env=hostile,
        preexec_fn=spoil, pass_fds=(), timeout=60,
    )  # fmt: skip
    os.close(terminal)
    os.close(other)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_nothing_hostile_gets_through(made: Node) -> None:
    """Whatever starts it, an engine has what the table says, and no more."""
    seen = told(made)
    variables = seen.pop("environment")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    many = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    assert seen.pop("nice") == (0 if os.geteuid() == 0 else 5)
    assert seen == {
        "stdin": "/dev/null",
        "others": [],
        "blocked": 0,
        "ignored": ["SIGPIPE", "SIGXFSZ"],
        "umask": 0o027,
        "files": [many, hard],
        "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "oom": 500,
        "folder": made.account.home,
        "terminal": 0,
        "leads": True,
    }
    pid = variables.pop(MARK).split()[1]
    assert pid.isdigit()
    variables.pop("XDG_RUNTIME_DIR", None)
    assert variables == {
        "PATH": f"{made.home}/venv/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": made.account.home,
        "USER": made.account.name,
        "LOGNAME": made.account.name,
        "SHELL": variables["SHELL"],
        "IPYTHONDIR": "/i",
        "VIRTUAL_ENV": f"{made.home}/venv",
        "MINE": "a b",
        "LD_LIBRARY_PATH": "/opt/lib",
    }


def test_the_table_is_whole() -> None:
    """Each row takes over something, and has a reason."""
    assert [name for name, _ in inheritance.HANDED_DOWN] == [
        "standard input",
        "open files of others",
        "terminal and process group",
        "signals",
        "umask",
        "limit of open files",
        "priority",
        "who goes when memory runs out",
        "working folder",
    ]
    assert all(take_over.__doc__ for _, take_over in inheritance.HANDED_DOWN)


def test_variables_of_a_unit_count_and_of_a_session_do_not(made: Node) -> None:
    """Under systemd a drop-in of the user's own adds variables; elsewhere nothing inherited counts."""
    session = {"TERM": "x", "INVOCATION_ID": "i", "PYTHONPATH": "/p", "CNCP_ENGINES": "3"}
    inherited = {"OWN": "1", "HOME": "/evil", **session}
    document = {**made.to_json(), "manager": "systemd"}
    found = environment(document, {}, "engine-0", inherited)
    assert found["OWN"] == "1"
    assert not set(session) & set(found)
    assert found["HOME"] == made.account.home
    assert found["PATH"] == f"{made.home}/venv/bin:/usr/local/bin:/usr/bin:/bin"
    assert "OWN" not in environment(made.to_json(), {}, "engine-0", inherited)


def test_only_engines_have_the_setting(made: Node) -> None:
    """The controller and Jupyter have none of the engines' variables; a file that is lost is no reason to fail."""
    assert environment(made.to_json(), {}, "engine-0", {})["MINE"] == "a b"
    assert "MINE" not in environment(made.to_json(), {}, "controller", {})
    assert inheritance.variables("none") == {}
    assert inheritance.variables(f"@{made.home}/none") == {}


def test_variables_are_no_part_of_a_document(made: Node) -> None:
    """What is written down, and what Chef sees, names a file; who reads it has them, and nothing without it."""
    assert NODE.content(made).count(f'"environment": "@{made.home}/environment"'.encode()) == 1
    assert Node.from_json(made.to_json(), "it") == made
    Path(made.home, "environment").unlink()
    assert Node.from_json(made.to_json(), "it").settings.environment == "none"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (f"noise\nmore\n{BEGINS}0022\nPATH=/a:/b\0FOO=1\0TZ=UTC\0", {"PATH": "/a:/b", "TZ": "UTC"}),
        (f"{BEGINS}22\nhttps_proxy=//p\0NO_PROXY=x\0LC_TIME=\0", {"https_proxy": "//p", "NO_PROXY": "x"}),
        (f"{BEGINS}022\nPATH=/\ufffd\0LANG=C\nx\0", {"LANG": "C\nx"}),
    ],
)
def test_what_a_login_says(said: str, read: dict[str, str]) -> None:
    """Umask and some variables, whatever the login files print before."""
    assert login_environment.read(said) == login_environment.Login(0o022, read)


@pytest.mark.parametrize("said", ["", "This account is not available.\n", BEGINS, "x\n022\n"])
def test_a_login_that_says_nothing(said: str) -> None:
    """An account without a login, or one whose files end the shell, has none."""
    assert login_environment.read(said) is None


def test_the_login_is_asked_and_not_the_caller(made: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PATH and umask are those of the account's login files, in a file for the account alone."""
    monkeypatch.setattr(login_environment, "_shell", lambda _: "/bin/bash")
    monkeypatch.setenv("PATH", f"/evil:{os.environ['PATH']}")
    monkeypatch.setenv("FOO", "1")
    Path(made.account.home, ".profile").write_text("echo noise; PATH=/login/bin:$PATH; umask 027; export TZ=UTC\n")
    Path(made.home, "login.json").unlink()
    actor = Actor(made.account)
    former = os.umask(0o077)
    try:
        assert login_environment.refresh(made, actor) == [f"{made.home}/login.json"]
    finally:
        os.umask(former)
    stored = json.loads(Path(made.home, "login.json").read_text())
    assert stored["umask"] == 0o027
    assert stored["variables"]["PATH"].startswith("/login/bin:")
    assert "/evil" not in stored["variables"]["PATH"]
    assert stored["variables"]["TZ"] == "UTC"
    assert "FOO" not in stored["variables"]
    assert Path(made.home, "login.json").stat().st_mode & 0o777 == 0o600
    assert login_environment.refresh(made, actor) == []
    # Files that end the shell leave what is known.
    Path(made.account.home, ".profile").write_text("exit 3\n")
    assert login_environment.refresh(made, actor) == []
