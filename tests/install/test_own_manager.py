"""A service manager of somebody else's in a real cluster: a loop of the shell keeps each service."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cncp.waiting import wait_until

from ..unit.elsewhere import python_of
from .server import IndexServer
from .support import Site, said, user_of, wheel

LOOPS = python_of("docs/howto/own-kinds.rst")[1]
"""The one that the documents show."""

FILE = """
service_manager = "loops"
converge = "embedded"
heartbeat = 1000
requirements = "requirements.txt"
engines = 1
"""

ASK = "import ipyparallel; print(ipyparallel.Client(profile='cncp', timeout=30)[:].apply_sync(lambda: 6 * 7))"


@pytest.fixture
def keeper(site: Site, index: IndexServer) -> Iterator[Site]:
    """Give a user whose cluster.toml names the service manager, and whose requirements the package that has it."""
    points = "[cncp.service_managers]\nloops = loops:Loops\n"
    wheel(index.folder, "loops", "1.0", source=LOOPS, points=points)
    with user_of(site, FILE, "loops"):
        yield site


def until(site: Site, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until status says of the services what is wanted, and return it."""

    def look() -> dict[str, Any]:
        return {row["name"]: row for row in json.loads(site.cncp("status", "--json").stdout)}

    found = wait_until(look, 60, 0.5, enough)
    assert enough(found), found
    return found


def test_a_cluster_that_it_keeps(keeper: Site) -> None:
    """From nothing to engines that compute; one that dies comes back; more, others started anew, and nothing left."""
    made = said(["bash", str(keeper.code / "baremetal.sh")], keeper.environment, keeper.home)
    assert made.returncode == 0, made.stderr
    assert "1/1 engines answer · profile cncp · loops · " in made.stdout
    python = str(keeper.state / "venv" / "bin" / "python")
    assert said([python, "-c", ASK], keeper.environment, keeper.home).stdout == "[42]\n"
    assert "nothing to change" in keeper.cncp("up").stdout
    first = until(keeper, lambda shown: shown["engine-0"]["state"] == "idle")
    assert first["controller"]["state"] == "up"

    os.kill(first["engine-0"]["pid"], signal.SIGKILL)
    again = until(keeper, lambda shown: shown["engine-0"]["state"] == "idle" and shown["engine-0"]["restarts"] == 1)
    assert again["engine-0"]["pid"] != first["engine-0"]["pid"]
    assert again["engine-0"]["last_exit"] == "ended with 137"
    assert again["engine-0"]["id"] == first["engine-0"]["id"]

    assert "2/2 engines answer" in keeper.cncp("scale", "2").stdout
    more = until(keeper, lambda shown: shown["engine-1"]["state"] == "idle")
    assert more["engine-0"]["pid"] == again["engine-0"]["pid"]
    assert keeper.cncp("restart", "--name", "engine-1").returncode == 0
    later = until(keeper, lambda shown: shown["engine-1"]["state"] == "idle")
    assert later["engine-1"]["pid"] != more["engine-1"]["pid"]
    assert keeper.cncp("check").stdout == "all is well\n"
    assert "loops" in keeper.cncp("--version").stdout

    assert keeper.cncp("down").returncode == 0
    assert {row["state"] for row in until(keeper, bool).values()} == {"down"}
    assert "1/1 engines answer" in keeper.cncp("up").stdout
    (keeper.home / "cluster.toml").write_text(FILE.replace("loops", "supervisor"))
    moved = keeper.cncp("up")
    assert "leaving loops (user) for supervisor (user)" in moved.stderr
    assert "· supervisor · " in moved.stdout
    gone = keeper.cncp("uninstall")
    assert gone.returncode == 0, gone.stderr
    assert not keeper.state.exists()
    assert said(["pgrep", "-f", str(keeper.home)], keeper.environment, keeper.home).stdout == ""


def test_one_that_nobody_has(keeper: Site) -> None:
    """It is refused before anything is installed, where nothing is to be installed that could have it."""
    (keeper.home / "cluster.toml").write_text(FILE.replace('"requirements.txt"', '"none"'))
    refused = said(["bash", str(keeper.code / "baremetal.sh")], keeper.environment, keeper.home)
    assert refused.returncode == 2
    assert "there is no service manager 'loops'" in refused.stderr
    assert not keeper.state.exists()
