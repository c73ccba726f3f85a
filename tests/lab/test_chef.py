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
from .site import Site, checkout
from .sites import MakeSite
from .users import User


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
@pytest.mark.parametrize(
    ("user", "manager", "scope", "words"),
    [
        ("root", "systemd", "system", []),
        ("bob", "systemd", "user", []),
        *(
            pytest.param(*("bob", manager, "user", [f"--service-manager={manager}"]), marks=pytest.mark.slow(held=held))
            for manager, held in (
                ("supervisor", "tests/chef/test_engines.py"),
                ("tmux", "that with systemd, and tests/chef/test_engines.py"),
                ("screen", "that with systemd, and tests/chef/test_engines.py"),
            )
        ),
    ],
)
def test_recipes_and_embedded_engine_agree(
    with_chef: Host, make_site: MakeSite, user: str, manager: str, scope: str, words: list[str]
) -> None:
    """Chef converges services and profile, engines answer, and the embedded engine has nothing to add."""
    site: Site = make_site(with_chef, user)
    before = site.tree()
    made = json.loads(site.baremetal("--converge=chef", "--engines=2", *words, "--json").stdout)
    assert (made["converge"], made["service_manager"], made["scope"]) == ("chef", manager, scope)
    assert sorted(site.ask_engines()) == ["0", "1"]
    again = json.loads(site.baremetal("--json").stdout)
    assert again["changed"] is False
    assert "update content" in site.cncp("plan", "--heartbeat=333").stdout
    changed = json.loads(site.baremetal("--engines=3", "--json").stdout)
    assert (changed["converge"], changed["answering"]) == ("chef", [0, 1, 2])
    with_chef.reboot()
    site.await_engines(3)
    # All that differs is the setting that says who converges, and what follows from it: nothing.
    planned = json.loads(site.cncp("plan", "--converge=embedded", "--json").stdout)
    assert [Path(file["path"]).name for file in planned["files"]] == ["node.json"]
    assert (planned["remove"], planned["start"], planned["stop"]) == ([], [], [])
    site.cncp("uninstall")
    assert site.tree() == before


@pytest.mark.chef
def test_the_cookbook_alone_by_root_for_another_account(with_chef: Host, make_site: MakeSite) -> None:
    """Root's Chef with root's checkout: the units are the system's, all else is bob's; a second run has no work."""
    bob: Site = make_site(with_chef, "bob")
    before = bob.tree()
    with_chef.exec(["mkdir", "-p", "/opt/cncp", "/root/solo"])
    with_chef.exec(["tar", "-x", "--no-same-owner", "-C", "/opt/cncp"], input=checkout())
    solo = [
        *("cookbook_path '/opt/cncp/cookbooks'", "role_path '/opt/cncp/roles'"),
        "require '/opt/cncp/cookbooks/cncp/files/chef/report.rb'",
        "event_handlers [Cncp::Report.new('/root/solo/report.json')]",
    ]
    with_chef.write("/root/solo/solo.rb", "\n".join(solo) + "\n")

    def converge(**attributes: object) -> list[str]:
        with_chef.write("/root/solo/node.json", json.dumps({"cncp": {"user": "bob", "packages": False, **attributes}}))
        words = ["-c", "/root/solo/solo.rb", "-j", "/root/solo/node.json", "-o", "role[compute]", "--no-color"]
        with_chef.run([str(to_lend().link), *words], "root", timeout=240)
        report = json.loads(with_chef.read("/root/solo/report.json"))
        assert report["success"], report
        return [resource["resource"] for resource in report["updated"]]

    assert converge(engines=1)
    assert sorted(bob.ask_engines()) == ["0"]
    assert with_chef.exec(["find", bob.home, "-not", "-user", "bob"]).stdout == ""
    assert "User=bob" in with_chef.exec(["systemctl", "show", "-p", "User", "cncp-engine@0"]).stdout
    assert converge(engines=1) == []
    assert converge(engines=2, threads=1)
    assert sorted(bob.ask_engines()) == ["0", "1"]
    with_chef.reboot()
    bob.await_engines(2)
    uninstall = ["env", "CNCP_USER=bob", "bash", "/opt/cncp/baremetal.sh", "cncp", "uninstall"]
    with_chef.run(uninstall, "root", timeout=240)
    assert bob.tree() == before


@pytest.mark.chef
def test_recipes_with_a_password_for_sudo(with_chef: Host, make_site: MakeSite) -> None:
    """On a terminal sudo asks; Chef makes units of the system that run as the user, and takes them away."""
    ada: Site = make_site(with_chef, "ada")
    before = ada.tree()
    status, said = ada.baremetal_on_tty("--converge=chef", "--scope=system", "--engines=2", password=User.password)
    assert status == 0, said
    assert "converging with the chef engine" in said
    assert "2/2 engines answer · profile cncp · systemd (system) ·" in said
    assert "User=ada" in with_chef.exec(["systemctl", "show", "-p", "User", "cncp-engine@0"]).stdout
    status, said = ada.baremetal_on_tty(password=User.password)
    assert (status, "nothing to change" in said) == (0, True), said
    with_chef.reboot()
    ada.await_engines(2)
    status, said = ada.on_tty([f"{ada.home}/.local/bin/cncp", "uninstall"], User.password)
    assert status == 0, said
    assert ada.tree() == before
