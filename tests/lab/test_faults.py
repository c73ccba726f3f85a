"""Faults, with a client that goes on: whatever dies comes back by itself, with the same ids and keys."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import psutil
import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite
from .sockets import stop_listening

CLIENT = Path(__file__).with_name("fault_client.py")
ENGINES = 4


CHILDREN = [
    pytest.param(f"child-{number}", marks=[pytest.mark.slow(held="that of another child")] if number else [])
    for number in range(8)
]
"""Of the controller; its parent process notices the end of each in the same way."""


@pytest.fixture(scope="module", params=["systemd", "supervisor", "tmux"])
def site(request: pytest.FixtureRequest, bare: Host, make_site: MakeSite) -> Site:
    """A plain user's cluster under each kind of service manager."""
    made = make_site(bare, "bob")
    made.baremetal(f"--engines={ENGINES}", f"--service-manager={request.param}", "--tolerance=10")
    bare.write(f"{made.home}/fault_client.py", CLIENT.read_text(), "bob")
    return made


def cause(site: Site, fault: str) -> dict[str, Any]:
    """Have the client cause a fault, and hold that it saw all engines again, with their ids and keys."""
    python = f"{site.state}/venv/bin/python"
    seen = dict(json.loads(site.host.run([python, f"{site.home}/fault_client.py", fault], site.user).stdout))
    assert sorted(seen["before"]) == sorted(seen["after"] or {}) == [str(number) for number in range(ENGINES)], seen
    assert seen["same_keys"]
    # A client that comes after an earlier fault is served at once.
    assert seen["ready"] < 1, seen
    return seen


def test_engine_killed(site: Site) -> None:
    """A killed engine is back within 5 s under the same id; the others have not noticed."""
    seen = cause(site, "engine")
    assert seen["took"] < 5
    same = [number for number in seen["before"] if seen["before"][number] == seen["after"][number]]
    assert len(same) == ENGINES - 1
    shown = site.status()["engine-1"]
    assert shown["restarts"] >= 1
    assert shown["last_exit"] == "signal KILL"


def test_an_engine_that_cannot_start(site: Site) -> None:
    """It is said with what the log ends with, before the time is over; nothing else is lost, and it can be mended."""
    with site.without("ipykernel.comm"):
        done = site.cncp("restart", "--name=engine-2", check=False)
    assert done.returncode == 1
    assert "error: engine-2 ends again and again: exit code 1; its log ends with: ModuleNotFoundError" in done.stderr
    assert "hint: look at: cncp logs --name engine-2" in done.stderr
    assert f"{ENGINES}/{ENGINES} engines answer" in site.cncp("up").stdout


@pytest.mark.parametrize("fault", ["parent", "controller", *CHILDREN])
def test_controller_killed(site: Site, fault: str) -> None:
    """The parent, all of it, or any one of its 8 children killed: all engines are back within 10 s."""
    seen = cause(site, fault)
    assert seen["took"] < 10


def words(process: psutil.Process) -> set[str]:
    """Return the words of a command line, none where the process has ended."""
    with contextlib.suppress(psutil.Error):
        return {*process.cmdline()}
    return set()


def test_a_port_of_a_living_controller_is_closed(site: Site) -> None:
    """A controller all of whose processes live, but that no longer listens on one port, is replaced."""
    identity = json.loads(site.host.read(f"{site.home}/.ipython/profile_cncp/security/cncp-identity.json"))
    port = identity["ports"]["all"][3]
    before = site.status()["controller"]["pid"]
    # Of this host alone: others here have controllers as well, and may have the same ports.
    leader = site.host.machine.leader()
    assert leader is not None
    of_host = psutil.Process(leader).children(recursive=True)
    processes = [process for process in of_host if {"cncp.remote", "serve", "controller"} <= words(process)]
    assert any(stop_listening(process.pid, port) for process in processes)
    until(lambda: site.status()["controller"]["pid"] not in (0, before), 30, "another controller")
    site.await_engines(ENGINES, 30)
    assert sorted(site.ask_engines()) == [str(number) for number in range(ENGINES)]
    # libzmq may end the process that finds its socket closed; else the controller's own look finds it.
    said = site.cncp("logs", "--name", "controller", "--lines", "400").stdout
    assert re.search(rf"(ports \[{port}\] are closed|died): ending, to be started again", said)


def test_engine_suspended_beyond_the_tolerance(site: Site) -> None:
    """An engine that was suspended, and is unknown to the hub, replaces itself once it goes on."""
    pid = site.status()["engine-2"]["pid"]
    site.host.exec(["kill", "-STOP", str(pid)])
    until(lambda: site.status()["engine-2"]["id"] is None, 40, "the hub giving up the suspended engine")
    assert "engine-2 is suspended" in site.cncp("check", check=False).stdout
    site.host.exec(["kill", "-CONT", str(pid)])
    shown = site.await_engines(ENGINES, 40)
    assert shown["engine-2"]["id"] == 2
    assert shown["engine-2"]["pid"] != pid
    assert sorted(site.ask_engines()) == [str(number) for number in range(ENGINES)]


def test_service_manager_restarted(site: Site) -> None:
    """A service manager that is restarted, or dies, costs nothing that one `cncp up` does not bring back."""
    manager = json.loads(site.host.read(f"{site.state}/node.json"))["manager"]
    before = {name: service["pid"] for name, service in site.status().items()}
    if manager == "systemd":
        site.host.run(["systemctl", "--user", "daemon-reexec"], site.user)
        assert {name: service["pid"] for name, service in site.status().items()} == before
        return
    killed = {"supervisor": "supervisord -c", "tmux": "tmux -L cncp"}[manager]
    site.host.exec(["pkill", "-KILL", "-u", site.user, "-f", killed])
    site.baremetal()
    site.await_engines(ENGINES)
    assert sorted(site.ask_engines()) == [str(number) for number in range(ENGINES)]
    # `keep` has the same words on its command line; the services alone begin with python.
    running = site.host.exec(
        ["pgrep", "-u", site.user, "-fc", "^[^ ]*python -I -Xutf8 -m cncp.remote serve engine"]
    ).stdout
    assert int(running) == ENGINES
