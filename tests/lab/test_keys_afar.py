"""A cluster whose controller is on a host, and its keys, from the machine in charge of it."""

from __future__ import annotations

import json

import pytest

from .fleets import Fleet, MakeFleet, differences


@pytest.fixture(scope="module")
def fleet(make_fleet: MakeFleet) -> Fleet:
    """Boot a machine in charge and a host."""
    return make_fleet("beta", 1)


def test_rotation_from_afar(fleet: Fleet) -> None:
    """The machine in charge runs nothing and has no keys, until it copies them; it rotates them there, for all engines.

    An uninstall leaves nothing on both.
    """
    before = fleet.trees()
    fleet.file(
        """
        controller = "beta1"
        listen = "all"
        [[pool]]
        hosts = ["beta1"]
        engines = 2
        """
    )
    assert "keys.copy --host beta1" in fleet.master.baremetal().stdout
    assert {name: service["state"] for name, service in fleet.status().items()} == {
        "beta1 controller": "up",
        "beta1 engine-0": "idle",
        "beta1 engine-1": "idle",
    }
    assert fleet.master.host.exec(["find", "/home/bob", "-name", "ipcontroller-*.json"]).stdout == ""
    assert "nothing to change" in fleet.master.cncp("up").stdout
    host = fleet.hosts["beta1"].host
    quiet = host.read("/home/bob/.bashrc")
    # What a login file prints is no part of what is fetched.
    host.write("/home/bob/.bashrc", f"echo welcome to {{beta1}}\n{quiet}", "bob")
    copied = json.loads(fleet.master.cncp("keys.copy", "--host", "beta1", "--json").stdout)
    assert fleet.ask_engines() == ["beta1"] * 2
    host.write("/home/bob/.bashrc", quiet, "bob")
    rotated = json.loads(fleet.master.cncp("keys.rotate", "--json").stdout)
    assert rotated["before"] == copied["fingerprint"]
    assert rotated["hosts"] == {"beta1": 2}
    fleet.master.cncp("keys.copy", "--host", "beta1", "--force")
    assert fleet.ask_engines() == ["beta1"] * 2
    fleet.master.cncp("uninstall")
    fleet.master.host.exec(["rm", f"{fleet.master.home}/cluster.toml"])
    left = differences(before, fleet.trees())
    # The connection file that was copied is the user's, and IPython's folder around it.
    assert [line for line in left if "beta0 /home/bob/.ipython" not in line] == []
