"""Whose instances are listed, which of them nobody wants, and that strangers' are never ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import SOME_HOSTS, CncpError
from cncp.pools.cloud import roster
from cncp.pools.cloud.journal import Batch, Journal
from cncp.pools.cloud.provider import BATCH, CLUSTER, OWNER, Instance
from cncp.pools.cloud.roster import Entry, SomeCloudsFailed

from .memory_cloud import Memory

HERE, GONE, OURS = "0f3a9c1e55aa7b20", "1111111111111111", "ada@gold/00000000"
SITE = {"provider": "memory", "cloud": "", "region": "here"}


def instance(name: str, cluster: str, batch: str = "b" * 16, owner: str = OURS, state: str = "running") -> Instance:
    """Return an instance with these tags."""
    tags = {CLUSTER: cluster, BATCH: batch, OWNER: owner}
    return Instance(name, name, state, since=1.8e9 - 7200, price=0.5, tags=tags)  # type: ignore[arg-type]


@pytest.fixture
def cloud() -> Memory:
    """A cloud with instances of several owners."""
    made = [
        instance("i-1", HERE),
        instance("i-2", HERE, batch="c" * 16),
        instance("i-3", HERE, state="stopped"),
        instance("i-4", GONE),
        instance("i-5", GONE, owner="ada@gold/99999999"),
        instance("i-6", HERE, owner="bob@gold/00000000"),
        Instance("i-7", "db", "running"),
    ]
    return Memory(made={machine.id: machine for machine in made}, groups={HERE, GONE}, dies=0.0)


@pytest.fixture
def kept(tmp_path: Path) -> list[Journal]:
    """A journal that wants two of them."""
    Journal.of(tmp_path, HERE, OURS).note(
        Batch("b" * 16, "memory", SITE, 2, 1.0, 2.0, stage="RUNNING", ids=("i-1", "i-3"))
    )
    return roster.known(tmp_path, OURS)


def test_what_is_wanted(cloud: Memory, kept: list[Journal]) -> None:
    """Ours alone, each with why nobody wants it, and what it has cost."""
    found = {entry.instance.id: entry for entry in roster.entries(cloud, OURS, kept, cloud.clock)}
    assert {name: entry.orphan for name, entry in found.items()} == {
        "i-1": "",
        "i-2": "its cluster has no such instance any more",
        "i-3": "it is stopped",
        "i-4": "its cluster is not known here",
    }
    assert found["i-1"].hours(1.8e9) == 2.0
    assert found["i-1"].cost(1.8e9) == 1.0
    assert Entry(Instance("x", "x", "running"), "").cost(1.8e9) is None
    assert roster.judged(instance("x", GONE, state="ending"), kept) == ""


def test_only_those_are_ended(cloud: Memory, kept: list[Journal], tmp_path: Path) -> None:
    """By id, cluster by cluster; a security group goes with the last of its cluster (dstack#3453)."""
    orphans = [entry for entry in roster.entries(cloud, OURS, kept, cloud.clock) if entry.orphan]
    cloud.made["i-5"] = instance("i-5", "2" * 16, owner="ada@gold/99999999")
    said: list[str] = []
    roster.sweep(cloud, tmp_path, OURS, orphans, cloud.clock, said.append)
    assert sorted(cloud.ended) == ["i-2", "i-3", "i-4"]
    assert said == ["ended: i-2, i-3", "ended: i-4"]
    assert roster.entries(cloud, OURS, kept, cloud.clock)[0].instance.id == "i-1"


def test_where_to_look(kept: list[Journal]) -> None:
    """In every place of a journal and of the file, once each."""
    elsewhere = {**SITE, "region": "there"}
    assert roster.sites(kept, [SITE, elsewhere, dict(elsewhere)]) == [SITE, elsewhere]


def test_clouds_that_do_not_answer() -> None:
    """They are told together, with the exit code of those of whom some failed."""
    error = SomeCloudsFailed({"a": CncpError("a does not answer", "wait"), "b": CncpError("b neither", "look")})
    assert (error.message, error.hint, error.exit_code) == ("a does not answer; b neither", "wait", SOME_HOSTS)
