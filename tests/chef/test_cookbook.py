"""The cookbook alone: `chef-solo -o role[compute]` on a machine with nothing installed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .site import Site

pytestmark = pytest.mark.chef


BUSY = """
import time, ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=60)
task = client[0].apply_async(time.sleep, 600)
while not client.queue_status(0)["queue"]:
    time.sleep(0.1)
print("at work", flush=True)
time.sleep(600)
"""


def _engine(site: Site) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(site.cncp("status", "--json").stdout)
    return next(service for service in found if service["name"] == "engine-0")


def _settings(site: Site) -> dict[str, object]:
    found: dict[str, object] = json.loads((site.profile / "cncp.json").read_text())
    return found


def test_from_nothing_to_engines(site: Site, program: Path) -> None:
    """A dry run changes nothing, a run makes a cluster that answers, a second one has nothing to do.

    An attribute that does not exist is named, with the one that was probably meant.
    """
    site.solo(program, {}, "--why-run")
    assert not site.cncp_home.exists()
    site.solo(program, {})
    assert "1/1" in site.cncp("restart").stdout
    assert site.solo(program, {})["updated"] == []
    with pytest.raises(AssertionError, match="did you mean heartbeat"):
        site.solo(program, {"hartbeat": 600})


def test_attributes_are_applied(site: Site, program: Path) -> None:
    """A changed attribute changes what it concerns; one that is taken away takes its effect with it."""
    site.solo(program, {"heartbeat": 600, "threads": 1})
    assert _settings(site)["heartbeat"] == 600
    dry = site.solo(program, {"heartbeat": 400, "threads": 1}, "--why-run")
    assert any(line.startswith('+  "heartbeat": 400') for update in dry["updated"] for line in update["lines"])
    assert _settings(site)["heartbeat"] == 600
    site.solo(program, {"engines": 2, "threads": 1})
    assert _settings(site)["heartbeat"] == 500
    assert [service["id"] for service in json.loads(site.cncp("status", "--json").stdout)] == [None, 0, 1]


def test_without_rights(user_site: Site, program: Path) -> None:
    """An unprivileged user gets the same, and everything is theirs."""
    user_site.solo(program, {})
    assert {path.lstat().st_uid for path in (user_site.folder / "home").rglob("*")} == {user_site.user}
    assert user_site.solo(program, {})["updated"] == []


def test_what_makes_no_sense_changes_nothing(site: Site, program: Path) -> None:
    """Attributes that cannot be are refused in one line before the first change; numbers may come as text."""
    site.solo(program, {"python": "python3", "timeout": "30", "packages": "false"})
    assert site.solo(program, {"python": "python3", "timeout": "30", "packages": "false"})["updated"] == []
    running = site.cncp("status", "--json").stdout
    for wrong, said in (
        ({"timeout": -5, "heartbeat": 600}, "timeout"),
        ({"requirements": ["numpy"], "heartbeat": 600}, "requirements"),
        ({"home": 5}, "home"),
        ({"python": "/nonexistent", "heartbeat": 600}, "there is no Python /nonexistent"),
    ):
        with pytest.raises(AssertionError, match=said):
            site.solo(program, wrong)
    again = site.cncp("status", "--json").stdout
    assert [service["pid"] for service in json.loads(again)] == [service["pid"] for service in json.loads(running)]


def test_only_what_changes_is_updated(site: Site, program: Path) -> None:
    """An engine that goes is the engines' matter: the controller is not reported, which others may subscribe to."""
    site.solo(program, {"engines": 2, "threads": 1})
    for options in (("--why-run",), ()):
        updated = [
            update["resource"] for update in site.solo(program, {"engines": 1, "threads": 1}, *options)["updated"]
        ]
        assert any(resource.startswith("cncp_engines") for resource in updated)
        assert not [
            resource for resource in updated if resource.startswith(("cncp_controller", "cncp_tunnels", "cncp_jupyter"))
        ]


def test_engines_at_work(site: Site, program: Path) -> None:
    """A run that may lose no task fails before it changes anything; one to which nothing was said goes on."""
    site.solo(program, {})
    pid = _engine(site)["pid"]
    python = site.cncp_home / "venv" / "bin" / "python"
    with subprocess.Popen([python, "-c", BUSY], env=site.environment, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "at work\n"
        careful = {"force": False, "heartbeat": 600}
        with pytest.raises(AssertionError, match="engine-0 is busy: this run of Chef would lose its task"):
            site.solo(program, careful)
        assert (_engine(site)["pid"], _settings(site)["heartbeat"]) == (pid, 500)
        # What ends nothing is no loss.
        site.solo(program, {"force": False})
        site.solo(program, {"heartbeat": 600})
        client.kill()
    assert _engine(site)["pid"] != pid
    assert _settings(site)["heartbeat"] == 600


def test_services_are_stopped_restarted_and_all_of_it_removed(site: Site, program: Path) -> None:
    """By a recipe of somebody else's; a dry run changes nothing, and what is so already is no change."""
    site.solo(program, {})
    before = _engine(site)
    assert site.act(program, "cncp_engines", "stop", "--why-run") == ["cncp_engines[cncp]"]
    assert _engine(site)["pid"] == before["pid"]
    assert site.act(program, "cncp_engines", "stop") == ["cncp_engines[cncp]"]
    assert (_engine(site)["pid"], _engine(site)["state"]) == (0, "down")
    assert site.act(program, "cncp_engines", "stop") == []
    assert site.act(program, "cncp_engines", "restart") == []
    assert site.act(program, "cncp_engines", "start") == ["cncp_engines[cncp]"]
    again = _engine(site)["pid"]
    assert site.act(program, "cncp_engines", "restart") == ["cncp_engines[cncp]"]
    assert _engine(site)["pid"] not in (0, again)
    assert site.act(program, "cncp_virtualenv", "delete", "--why-run") == ["cncp_virtualenv[cncp]"]
    assert site.profile.exists()
    assert site.act(program, "cncp_virtualenv", "delete") == ["cncp_virtualenv[cncp]"]
    assert not site.cncp_home.exists()
    assert not site.profile.exists()
    assert site.act(program, "cncp_virtualenv", "delete") == []


def test_a_home_with_letters_in_the_locale_c(site: Site, program: Path) -> None:
    """Chef reads its configuration whatever the locale is."""
    lettered = dataclasses.replace(
        site, variables={**site.variables, "LC_ALL": "C", "CNCP_HOME": f"{site.folder}/\u00fc"}
    )
    said = json.loads(lettered.baremetal("--converge", "chef", "--json").stdout)
    assert (said["converge"], said["answering"]) == ("chef", [0])
    python = site.folder / "\u00fc" / "venv" / "bin" / "python"
    lettered.run(python, "-s", "-m", "cncp", "uninstall")
