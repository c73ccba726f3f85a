"""Jupyter on hosts with real systemd: killed, rebooted, reached from another machine, and gone without a trace."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from .fleets import Fleet, MakeFleet
from .site import ROOT, Site, until
from .sites import MakeSite, fetch_locked

ASK = """
import json, sys, urllib.error, urllib.request
port, method, path = sys.argv[1:]
token = sys.stdin.read()
headers = {"Authorization": "token " + token} if token else {}
request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(json.dumps([answer.status, json.load(answer)]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, None]))
"""


def ask(site: Site, port: int, path: str, token: str = "", method: str = "GET") -> tuple[int, Any]:
    """Return status and JSON of what a site's own loopback answers."""
    argv = [f"{site.state}/venv/bin/python", "-c", ASK, str(port), method, path]
    status, content = json.loads(site.host.run(argv, site.user, input=token).stdout)
    return status, content


def access(site: Site) -> dict[str, Any]:
    """Return port, token and url."""
    return dict(json.loads(site.cncp("jupyter.token", "--json").stdout))


def await_jupyter(site: Site, other_than: int = 0) -> dict[str, dict[str, Any]]:
    """Wait until Jupyter answers, as another process than one before; return the status of all services."""

    def there() -> dict[str, dict[str, Any]] | None:
        shown = site.status()
        ready = shown["jupyter"]["state"] == "up" and shown["jupyter"]["pid"] != other_than
        return shown if ready else None

    return dict(until(there, 60, f"Jupyter of {site.user}"))


def kill(site: Site) -> None:
    """Kill Jupyter; it is back with the same port and token, and nothing else was touched."""
    before, known = site.status(), access(site)
    site.host.exec(["kill", "-KILL", str(before["jupyter"]["pid"])])
    after = await_jupyter(site, before["jupyter"]["pid"])
    assert after["jupyter"]["last_exit"] == "signal KILL"
    assert access(site) == known
    others = [name for name in before if name != "jupyter"]
    assert [after[name]["pid"] for name in others] == [before[name]["pid"] for name in others]


@pytest.fixture(scope="module")
def seats(make_fleet: MakeFleet, wheelhouse: Path) -> Fleet:
    """Two hosts, the first of which may log in to the second; the index has Jupyter's wheels as well."""
    fetch_locked(wheelhouse, ROOT / "bootstrap" / "locks" / "jupyter.txt")
    return make_fleet("seat", 1)


@pytest.fixture(scope="module")
def make_seat(seats: Fleet, make_site: MakeSite) -> Callable[[str], Site]:
    """Give a user of the second host our code."""
    host = seats.hosts["seat1"].host
    return lambda user: make_site(host, user)


@pytest.mark.slow(held="test_units_of_the_user, test_matrix.py with units of the system")
def test_units_of_the_system(make_seat: Callable[[str], Site]) -> None:
    """Root's: beside running engines, on loopback, with a token; after SIGKILL and a reboot the same; then gone."""
    root = make_seat("root")
    before = root.tree()
    root.baremetal("--engines=2")
    pids = {name: service["pid"] for name, service in root.status().items()}
    said = root.cncp("jupyter.up").stdout
    known = access(root)
    assert known["url"] in said
    assert known["token"] not in said
    shown = root.status()
    assert {name: shown[name]["pid"] for name in pids} == pids
    unit = root.host.exec(["systemctl", "show", "-p", "ActiveState,MainPID", "cncp-jupyter.service"]).stdout
    assert sorted(unit.split()) == ["ActiveState=active", f"MainPID={shown['jupyter']['pid']}"]

    port = known["port"]
    listening = [line.split()[3] for line in root.host.exec(["ss", "-Hltn"]).stdout.splitlines()]
    assert [listener for listener in listening if listener.endswith(f":{port}")] == [f"127.0.0.1:{port}"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((root.host.address, port), timeout=5)
    assert ask(root, port, "/api/contents")[0] == 403
    assert ask(root, port, "/api/contents", known["token"])[0] == 200
    clusters = ask(root, port, "/ipyparallel/clusters", known["token"])[1]
    assert [cluster["engines"]["n"] for cluster in clusters if cluster["id"] == "cncp:"] == [2]

    kill(root)
    root.host.reboot()
    await_jupyter(root)
    root.await_engines(2)
    assert access(root) == known
    # A kernel, with all that one writes.
    assert ask(root, port, "/api/kernels", known["token"], "POST")[0] == 201
    until(lambda: root.host.exists(f"{root.home}/.ipython/profile_cncp/history.sqlite"), 30, "a kernel's history")
    assert root.cncp("check").stdout == "all is well\n"
    assert "nothing to change" in root.baremetal().stdout
    root.cncp("uninstall")
    assert root.tree() == before


def test_units_of_the_user(make_seat: Callable[[str], Site]) -> None:
    """Bob's own systemd, with Jupyter from the first run on; off and on again; then gone."""
    bob = make_seat("bob")
    before = bob.tree()
    done = bob.baremetal("--engines=1", "--service-manager=systemd", "--jupyter=true")
    assert f"jupyter: {access(bob)['url']}" in done.stdout
    kill(bob)
    known = access(bob)
    assert "stopping jupyter" in bob.cncp("jupyter.down").stderr
    unit = ["systemctl", "--user", "show", "-p", "LoadState", "cncp-jupyter.service"]
    assert bob.host.run(unit, "bob").stdout.strip() == "LoadState=not-found"
    assert sorted(bob.status()) == ["controller", "engine-0"]
    bob.cncp("jupyter.up", "--quiet")
    assert access(bob) == known
    copies = f"{bob.home}/cncp-notebooks"
    assert sorted(bob.host.run(["ls", copies], "bob").stdout.split()) == sorted(
        path.name for path in (ROOT / "notebooks").glob("*.ipynb")
    )
    bob.cncp("uninstall")
    assert bob.tree() == before


def test_from_another_machine(seats: Fleet, make_seat: Callable[[str], Site]) -> None:
    """The port comes over ssh to the loopback of where the browser is, until Ctrl-C; refusals say what to do there."""
    bob, here = make_seat("bob"), seats.master
    bob.baremetal("--engines=1", "--service-manager=supervisor", "--jupyter=true")
    here.baremetal("--role=controller")
    known = access(bob)
    command = [f"{here.home}/.local/bin/cncp", "jupyter.open", "--host"]
    terminal = here.host.shell_tty([*command, "seat1"], "bob", timeout=60)
    terminal.expect(r"http://127\.0\.0\.1:(\d+)/lab")
    port = int(terminal.match.group(1))
    assert port == known["port"]
    terminal.expect("ssh seat1 .local/bin/cncp jupyter.token")
    assert ask(here, port, "/api/contents")[0] == 403
    assert ask(here, port, "/api/contents", known["token"])[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((here.host.address, port), timeout=5)
    processes = here.host.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"], check=False).stdout
    assert known["token"] not in processes
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    listening = here.host.exec(["ss", "-Hltn"]).stdout
    assert f":{port}" not in listening
    assert here.host.exec(["pgrep", "-u", "bob", "-fa", "ssh -M -S"], check=False).stdout == ""

    bob.cncp("jupyter.down", "--quiet")
    refused = here.host.run([*command, "seat1"], "bob", check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "error: Jupyter is switched off here",
        "hint: there: switch it on: cncp jupyter.up",
    ]
    unknown = here.host.run([*command, "nowhere"], "bob", check=False)
    assert unknown.returncode == 1
    assert "there is no such host" in unknown.stderr
    for site in (bob, here):
        site.cncp("uninstall")


def test_with_the_controller_on_a_host(seats: Fleet) -> None:
    """From the machine in charge one command runs Jupyter beside a controller elsewhere, and brings it here."""
    here = seats.master
    seats.file('controller = "seat1"\n[[pool]]\nhosts = ["seat1"]\nengines = 2\n')
    here.baremetal()
    terminal = here.host.shell_tty([f"{here.home}/.local/bin/cncp", "jupyter", "--no-browser"], "bob", timeout=240)
    terminal.expect(r"\nhttp://127\.0\.0\.1:(\d+)/lab")
    port = int(terminal.match.group(1))
    known = json.loads(here.cncp("jupyter.token", "--json").stdout)
    assert known["port"] == port
    clusters = ask(here, port, "/ipyparallel/clusters", known["token"])[1]
    assert [cluster["engines"]["n"] for cluster in clusters if cluster["id"] == "cncp:"] == [2]
    assert {name: service["state"] for name, service in seats.status().items()} == {
        "seat1 controller": "up",
        "seat1 engine-0": "idle",
        "seat1 engine-1": "idle",
        "seat1 jupyter": "up",
    }
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    here.cncp("jupyter.down", "--quiet")
    assert "seat1 jupyter" not in seats.status()
    here.cncp("uninstall")
    here.host.exec(["rm", f"{here.home}/cluster.toml"])
