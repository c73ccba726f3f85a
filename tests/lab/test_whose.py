"""Who runs a verb does not decide what the cluster is, and without the rights for a step nothing is touched."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from .host import Host
from .site import Site, checkout
from .sites import MakeSite

ROOTS = "/opt/cncp"
"""A checkout that root alone can change."""

SHOWN = ("show", "-p", "MainPID,ActiveState", "cncp-controller.service", "cncp-engine@0.service")

CHANGES = {
    "up": ["up", "--engines=2"],
    "scale 2": ["scale", "2"],
    "restart": ["restart"],
    "down": ["down"],
    "uninstall": ["uninstall"],
}
"""Verbs that change a cluster, by what root is asked for instead."""


@pytest.fixture(scope="module")
def bob(bare: Host, make_site: MakeSite) -> Site:
    """A plain user without sudo, on a host where root has a checkout of its own."""
    bare.exec(["mkdir", "-p", ROOTS])
    bare.exec(["tar", "-x", "--no-same-owner", "-C", ROOTS], input=checkout())
    return make_site(bare, "bob")


def by_root(site: Site, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run root's baremetal.sh for a site's account, as root."""
    argv = ["env", f"CNCP_USER={site.user}", "bash", f"{ROOTS}/baremetal.sh", *words]
    return site.host.run(argv, "root", check=check, timeout=240)


def state(site: Site) -> list[str]:
    """Return the processes of the units and what is kept of them and of the cluster, as root sees it."""
    records = ["sh", "-c", f"cd {site.state} && sha256sum run/*.json venv/*.json *.json"]
    return [site.host.exec(words).stdout for words in (["systemctl", *SHOWN], records)]


def kept_by(site: Site) -> tuple[str, str]:
    """Return service manager and scope of what is installed."""
    node = json.loads(site.host.read(f"{site.state}/node.json"))
    return node["manager"], node["scope"]


def test_units_of_the_system_and_an_account_without_rights(bob: Site) -> None:
    """Root sets it up for bob; bob looks at it, changes nothing, and is told who can: with that, all of it works."""
    before = bob.tree()
    assert "1/1 engines answer" in by_root(bob, "--engines=1").stdout
    assert kept_by(bob) == ("systemd", "system")
    assert "nothing to change" in bob.cncp("up").stdout
    assert "all is well" in bob.cncp("check").stdout
    assert bob.status()["engine-0"]["state"] == "idle"
    untouched = state(bob)
    # What has packages installed first is refused before that, too.
    bob.host.write(f"{bob.home}/packages", "# none\n", "bob")
    installing = {"up": ["up", f"--requirements={bob.home}/packages"]}
    for verb, words in (*CHANGES.items(), *installing.items()):
        refused = bob.cncp(*words, check=False)
        assert refused.returncode == 4, (words, refused.stderr)
        error, hint = refused.stderr.splitlines()[-2:]
        assert error.startswith(f"error: {verb} needs root: units of the system keep this cluster")
        assert re.search(rf"CNCP_USER=bob bash ({ROOTS}|ROOTS_OWN_CHECKOUT)/baremetal.sh cncp {verb}$", hint)
        assert state(bob) == untouched, words
    bob.host.exec(["rm", f"{bob.home}/packages"])
    for verb, words in CHANGES.items():
        if verb != "uninstall":
            by_root(bob, "cncp", *words)
            assert kept_by(bob) == ("systemd", "system"), words
    assert "2/2 engines answer" in by_root(bob, "cncp", "up").stdout
    assert sorted(bob.ask_engines()) == ["0", "1"]
    by_root(bob, "cncp", "uninstall")
    assert bob.tree() == before


def test_a_users_own_manager_and_root(bob: Site) -> None:
    """What bob has set up stays with bob's supervisord when root runs the main job, or a verb, for bob."""
    before = bob.tree()
    bob.baremetal("--engines=1")
    pids = {name: service["pid"] for name, service in bob.status().items()}
    again = json.loads(by_root(bob, "--json").stdout)
    assert (again["service_manager"], again["scope"], again["changed"]) == ("supervisor", "user", False)
    assert {name: service["pid"] for name, service in bob.status().items()} == pids
    by_root(bob, "cncp", "scale", "2")
    assert kept_by(bob) == ("supervisor", "user")
    assert sorted(bob.ask_engines()) == ["0", "1"]
    # A setting decides, and root is who can do it.
    refused = bob.cncp("up", "--scope=system", check=False)
    assert refused.returncode == 4
    assert "2/2 engines answer" in by_root(bob, "--scope=system").stdout
    assert kept_by(bob) == ("systemd", "system")
    by_root(bob, "cncp", "uninstall")
    assert bob.tree() == before
