"""A cluster of several machines over real sshd, from nothing to engines that answer, and all the verbs on it."""

from __future__ import annotations

import json

import pytest

from .fleets import Fleet, MakeFleet, differences


@pytest.fixture(scope="module")
def fleet(make_fleet: MakeFleet) -> Fleet:
    """Boot a master and two hosts; bob has an account on all of them and his key is known."""
    return make_fleet("alpha", 2)


def test_from_nothing_to_engines_that_answer(fleet: Fleet) -> None:
    """One command sets up all hosts; a second changes nothing; the verbs act on the whole."""
    fleet.file(
        """
        [[pool]]
        hosts = ["alpha[1-2]"]
        engines = 2
        threads = 1
        """
    )
    before = fleet.trees()
    done = fleet.master.baremetal()
    assert "4/4 engines answer" in done.stdout
    assert sorted(fleet.ask_engines()) == ["alpha1", "alpha1", "alpha2", "alpha2"]
    again = fleet.master.cncp("up")
    assert "nothing to change" in again.stdout
    shown = json.loads(fleet.master.cncp("status", "--json").stdout)
    assert sorted((one["host"], one["name"], one["state"]) for one in shown if one["name"] != "controller") == [
        (host, f"engine-{number}", "idle") for host in ("alpha1", "alpha2") for number in (0, 1)
    ]
    fleet.master.cncp("uninstall")
    assert differences(before, fleet.trees()) == []
