"""A pool that follows the work there is: what is asked of the hub, and what is done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError
from cncp.ipp.hub import Work
from cncp.pools.cloud import tending
from cncp.pools.cloud.idle_policy import WAITS
from cncp.serve.errands import WANTED

from .memory_cloud import Memory
from .test_cloud_pool import Door, Pool, made, up


class Board:
    """A hub: engines by id with their uuids, their tasks, and what waits."""

    def __init__(self) -> None:
        self.uuids: dict[int, str] = {}
        self.counts: dict[int, int] = {}
        self.queued: Any = 0

    def join(self, *hosts: str) -> None:
        """Register an engine of each host."""
        for host in hosts:
            self.uuids[len(self.uuids)] = f"{host}_0_0123456789ab"

    def engines(self) -> dict[int, str]:
        return self.uuids

    def work(self) -> Work:
        told = {str(number): {"queue": 0, "tasks": self.counts.get(number, 0), "completed": 9} for number in self.uuids}
        return Work.from_json({**told, "unassigned": self.queued, "status": "ok"}, "the controller's answer")

    def unregister(self, number: int, uuid: str) -> None:
        assert self.uuids.pop(number) == uuid


class Cluster:
    """A cluster with such a pool, which is tended once a minute."""

    def __init__(self, home: Path) -> None:
        self.home, self.cloud, self.door, self.hub = home, Memory(), Door(), Board()
        self.said: list[str] = []
        up(self.pool)
        self.joined()

    @property
    def pool(self) -> Pool:
        """The pool, as another command reads it."""
        return made(self.home, self.cloud, self.door, instances="1-4", idle="10m")

    def joined(self) -> None:
        """Have all that were made join."""
        known = {uuid.partition("_")[0] for uuid in self.hub.uuids.values()}
        self.hub.join(*(one.name for one in self.cloud.alive if one.name not in known))
        self.door.registered = {uuid.partition("_")[0]: 1 for uuid in self.hub.uuids.values()}

    def minutes(self, count: int) -> None:
        """Let time go by."""
        for _ in range(count):
            self.cloud.clock.time += 60
            if tending.tend(self.pool, self.hub, self.said.append):  # type: ignore[arg-type]
                up(self.pool)
                self.joined()


def test_it_follows_the_work(tmp_path: Path) -> None:
    """More where tasks wait, up to the bound; fewer when there is nothing to do, down to the other one."""
    cluster = Cluster(tmp_path)
    assert len(cluster.cloud.alive) == 1
    cluster.hub.counts, cluster.hub.queued = {0: 1}, 9
    cluster.minutes(int(WAITS / 60) + 2)
    assert len(cluster.cloud.alive) == 4
    assert cluster.said == ["memory: 4 instances from now on: 9 tasks wait for engines"]
    cluster.hub.counts, cluster.hub.queued = {2: 1}, 0
    cluster.minutes(9)
    assert len(cluster.cloud.alive) == 4
    cluster.minutes(3)
    assert [one.name for one in cluster.cloud.alive] == ["host-3"]
    assert list(cluster.hub.uuids.values()) == ["host-3_0_0123456789ab"]
    cluster.hub.counts = {}
    cluster.minutes(30)
    assert [one.name for one in cluster.cloud.alive] == ["host-3"]
    # `cncp up` makes none of them anew.
    up(cluster.pool)
    assert len(cluster.cloud.alive) == 1
    # Its service looks as long as there are any.
    assert [*(tmp_path / "cloud").glob(WANTED)]
    cluster.pool.discard(print)
    assert not [*(tmp_path / "cloud").glob(WANTED)]


@pytest.mark.parametrize("queued", ["many", None, [1], 1e400])
def test_a_hub_that_says_something_else(tmp_path: Path, queued: Any) -> None:
    """It is our error, and nothing is done."""
    cluster = Cluster(tmp_path)
    cluster.hub.queued = queued
    with pytest.raises(CncpError, match="unassigned is to be"):
        cluster.minutes(1)


def test_what_was_remembered_is_damaged(tmp_path: Path) -> None:
    """Then the time begins anew."""
    cluster = Cluster(tmp_path)
    cluster.minutes(1)
    [path] = (tmp_path / "cloud").glob(WANTED)
    path.write_text("{")
    cluster.minutes(1)
    assert "idle" in path.read_text()


def test_pools_that_are_tended(tmp_path: Path) -> None:
    """Those that have a time, once anybody was let in."""
    door = Door()
    plain, idle = made(tmp_path, Memory(), door), made(tmp_path, Memory(), door, idle="10m")
    assert tending.wanted([plain, idle]) == []
    door.cluster = "0" * 16
    assert tending.wanted([plain, idle]) == [idle]
