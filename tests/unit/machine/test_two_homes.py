"""Two clusters of one account, by CNCP_HOME: a profile is that of one of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cncp.config.asked import request
from cncp.errors import UsageError
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.node import Node, check_profile
from cncp.machine.ops import apply, steps

Describe = Callable[..., Node]


@pytest.fixture
def describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """Return what makes the node of a home of that name, as `cncp up` does."""

    def made(name: str, **flags: str) -> Node:
        monkeypatch.setenv("CNCP_HOME", str(tmp_path / name))
        wanted = {"engines": "1", "service_manager": "tmux", "converge": "embedded", **flags}
        return apply.describe(request(os.environ, file=None, flags=wanted, forget=True))

    return made


@pytest.fixture
def first(describe: Describe) -> Node:
    """Return a cluster of which all files are written."""
    node = describe("a")
    Path(node.home).mkdir()
    embedded.apply(embedded.changes(steps.wanted(node).resources), Actor(node.account))
    return node


def test_the_profile_of_another_cluster_is_refused(first: Node, describe: Describe) -> None:
    """Its services would be started with the keys and ports of the other, whose own they are."""
    with pytest.raises(UsageError, match=f"the profile cncp is that of the cluster in {first.home}$") as caught:
        check_profile(describe("b"))
    assert "--profile NAME" in caught.value.hint
    # The cluster itself, and others with a profile of their own.
    check_profile(first)
    check_profile(describe("b", profile="other"))


def test_a_cluster_that_is_no_more_has_no_profile(first: Node, describe: Describe) -> None:
    """One whose home is gone, and one that has moved to another profile, are in nobody's way."""
    moved = describe("a", profile="moved")
    embedded.apply(embedded.changes(steps.wanted(moved).resources), Actor(moved.account))
    check_profile(describe("b"))
    with pytest.raises(UsageError):
        check_profile(describe("b", profile="moved"))
    shutil.rmtree(first.home)
    check_profile(describe("b", profile="moved"))
