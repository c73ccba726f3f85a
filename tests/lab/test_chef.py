"""Chef with real systemd: the same cluster, by the recipes, where this machine has a Chef to lend.

The Chef of this machine (and, where it runs on the system's Ruby, Debian's packages of that) goes
into a host as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .chef import to_lend
from .host import Host
from .site import Site
from .sites import MakeSite


@pytest.fixture(scope="module")
def with_chef(make_host: Callable[..., Host]) -> Host:
    """Boot a host that has the Chef of this machine."""
    chef = to_lend()
    host = make_host("chef", "bookworm", ("cron", "python3-venv", *chef.packages), users=("ada", "bob"))
    host.boot()
    host.put(chef.tree, str(chef.tree))
    host.exec(["ln", "-s", str(chef.program), str(chef.link)])
    host.exec(["loginctl", "enable-linger", "bob"])
    return host


@pytest.mark.chef
@pytest.mark.parametrize(("user", "scope"), [("root", "system"), ("bob", "user")])
def test_recipes_and_embedded_engine_agree_under_systemd(
    with_chef: Host, make_site: MakeSite, user: str, scope: str
) -> None:
    """Chef converges units and profile, engines answer, and the embedded engine has nothing to add."""
    site: Site = make_site(with_chef, user)
    before = site.tree()
    made = json.loads(site.baremetal("--engine=chef", "--engines=2", "--json").stdout)
    assert (made["engine"], made["service_manager"], made["scope"]) == ("chef", "systemd", scope)
    assert sorted(site.ask_engines()) == ["0", "1"]
    again = json.loads(site.baremetal("--json").stdout)
    assert again["changed"] is False
    assert "update content" in site.cncp("plan", "--heartbeat=333").stdout
    changed = json.loads(site.baremetal("--engines=3", "--json").stdout)
    assert (changed["engine"], changed["answering"]) == ("chef", [0, 1, 2])
    with_chef.reboot()
    site.await_engines(3)
    # All that differs is the setting that says who converges, and what follows from it: nothing.
    planned = json.loads(site.cncp("plan", "--engine=embedded", "--json").stdout)
    assert [Path(one["path"]).name for one in planned["files"]] == ["node.json"]
    assert (planned["remove"], planned["start"], planned["stop"]) == ([], [], [])
    site.cncp("uninstall")
    assert site.tree() == before
