"""Keys of a cluster whose controller is on a host, from the machine in charge of it."""

from __future__ import annotations

import json

import pytest

from .fleets import Fleet, MakeFleet


@pytest.fixture(scope="module")
def fleet(make_fleet: MakeFleet) -> Fleet:
    """Boot a machine in charge and a host."""
    return make_fleet("beta", 1)


def test_rotation_from_afar(fleet: Fleet) -> None:
    """The machine in charge copies the keys, rotates them there, and finds all engines with the new ones."""
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
