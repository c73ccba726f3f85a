"""A pool that follows the work there is: what is asked of the hub, and what is done about it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError
from cncp.ipp.hub import Said, Work
from cncp.pools import counts
from cncp.pools.cloud import registered, tending
from cncp.pools.cloud.idle_policy import RETRY, WAITS
from cncp.serve.errands import WANTED

from .memory_cloud import Memory
from .test_cloud_pool import Door, Pool, made, up


class Board:
    """A hub: engines by id with their uuids, their tasks, and what waits."""

    def __init__(self) -> None:
        self.uuids: dict[int, str] = {}
        self.counts: dict[int, int] = {}
        self.queued: Any = 0
        self.drained: set[str] = set()
        self.landing: dict[str, int] = {}
        self.living: set[str] = set()

    def join(self, *hosts: str) -> None:
        """Register an engine of each host."""
        for host in hosts:
            self.uuids[max(self.uuids, default=-1) + 1] = f"{host}_0_0123456789ab"

    def engines(self) -> dict[int, str]:
        return self.uuids

    def work(self) -> Work:
        told = {str(number): {"queue": 0, "tasks": self.counts.get(number, 0), "completed": 9} for number in self.uuids}
        return Work.from_json({**told, "unassigned": self.queued, "status": "ok"}, "the controller's answer")

    def drain(self, uuids: list[str], seconds: float) -> dict[str, int]:
        """Leave engines out; ``landing`` are tasks that the scheduler has sent on a moment before."""
        self.drained = self.drained.union(uuids) if seconds else self.drained.difference(uuids)
        return {uuid: self.landing.get(uuid.partition("_")[0], 0) for uuid in uuids}

    def answering(self, uuids: Collection[str]) -> dict[str, Said]:
        return {uuid: Said() for uuid in self.living.intersection(uuids)}

    def unregister(self, number: int, uuid: str) -> None:
        assert self.uuids.pop(number) == uuid


class Hall(Door):
    """Lets everybody in, and asks that hub."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board: Any = board

    def work(self) -> registered.Work:
        return registered.work(self._board)

    def drain(self, instances: Collection[str], *, hold: bool) -> list[str]:
        return registered.drain(self._board, instances, 60.0 if hold else 0.0)

    def unregister(self, instances: list[str]) -> None:
        registered.unregister(self._board, instances)


class Cluster:
    """A cluster with such a pool, which is tended once a minute."""

    def __init__(self, home: Path, **keys: Any) -> None:
        self.home, self.cloud, self.hub = home, Memory(), Board()
        self.door = Hall(self.hub)
        wanted = {"instances": "1-4", "idle": "10m", **keys}
        self.keys = {key: value for key, value in wanted.items() if value is not None}
        self.said: list[str] = []
        self.clients = 1
        up(self.pool)
        self.joined()

    @property
    def pool(self) -> Pool:
        """The pool, as another command reads it."""
        return made(self.home, self.cloud, self.door, **self.keys)

    def joined(self) -> None:
        """Have all that were made join."""
        known = {uuid.partition("_")[0] for uuid in self.hub.uuids.values()}
        self.hub.join(*(instance.name for instance in self.cloud.alive if instance.name not in known))

    def minutes(self, count: int) -> None:
        """Let time go by."""
        for _ in range(count):
            self.cloud.clock.time += 60
            if tending.tend(self.pool, self.door.work(), self.clients, self.said.append):
                up(self.pool)
                self.joined()

    @property
    def names(self) -> list[str]:
        """Return those that have to be paid for."""
        return [instance.name for instance in self.cloud.alive]


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
    assert [instance.name for instance in cluster.cloud.alive] == ["host-3"]
    assert list(cluster.hub.uuids.values()) == ["host-3_0_0123456789ab"]
    cluster.hub.counts = {}
    cluster.minutes(30)
    assert [instance.name for instance in cluster.cloud.alive] == ["host-3"]
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
    client = made(tmp_path, Memory(), door, idle_client="8h")
    assert tending.wanted([plain, idle, client]) == [idle, client]


def test_one_that_gets_a_task_in_between(tmp_path: Path) -> None:
    """It is not idle any more, and stays; the others end, without a task on any of them."""
    cluster = Cluster(tmp_path, instances=3)
    cluster.hub.landing = {"host-2": 1}
    cluster.minutes(11)
    assert cluster.names == ["host-2"]
    assert cluster.hub.drained == {"host-1_0_0123456789ab", "host-3_0_0123456789ab"}
    assert cluster.said[0] == "memory: ending host-1, host-3: no work for 600 s"
    assert cluster.pool.count == 1
    cluster.hub.landing = {}
    cluster.minutes(1)
    assert cluster.names == []
    assert [*(tmp_path / "cloud").glob(WANTED)]
    # One number alone is how many there are at first, and at most.
    cluster.hub.queued = 50
    cluster.minutes(3)
    assert len(cluster.names) == 3


def test_one_that_still_answers(tmp_path: Path) -> None:
    """Where a cloud says too early that it is gone, its engines stay drained: unknown, they would register anew."""
    cluster = Cluster(tmp_path, instances="0-3")
    up(cluster.pool)
    cluster.hub.queued = 9
    cluster.minutes(3)
    assert len(cluster.names) == 3
    cluster.hub.queued = 0
    alive = cluster.hub.living = {"host-2_0_0123456789ab"}
    cluster.minutes(12)
    assert cluster.names == []
    assert set(cluster.hub.uuids.values()) == alive
    assert alive <= cluster.hub.drained


def test_a_number_that_was_asked_for(tmp_path: Path) -> None:
    """Fewer than the lower bound by `cncp scale` are not made more again because of that."""
    cluster = Cluster(tmp_path, instances="3-4")
    pool = cluster.pool
    pool.scale(1)
    counts.keep(pool)
    pool.release(pool.surplus(), print)
    assert cluster.names == ["host-3"]
    cluster.minutes(30)
    assert cluster.names == ["host-3"]


def test_no_client_for_a_time(tmp_path: Path) -> None:
    """All end although tasks are there, and stay away; they come back with a client, or with `cncp up`."""
    cluster = Cluster(tmp_path, instances="2-4", idle_client="8h")
    cluster.hub.counts, cluster.hub.queued, cluster.clients = {0: 3, 1: 1}, 5, 0
    cluster.minutes(8 * 60)
    assert len(cluster.names) == 4
    cluster.minutes(1)
    assert cluster.names == []
    assert "memory: ending host-1, host-2, host-3, host-4: no client for 28806 s; 4 tasks lost" in cluster.said
    cluster.minutes(60)
    assert cluster.names == []
    up(cluster.pool)
    cluster.joined()
    cluster.minutes(8 * 60)
    assert cluster.names
    cluster.minutes(1)
    assert cluster.names == []
    cluster.clients, cluster.hub.queued, cluster.hub.counts = 1, 0, {}
    cluster.minutes(1)
    assert len(cluster.names) == 2
    # A client that was there for a moment begins the time anew.
    cluster.clients = 0
    cluster.minutes(8 * 60 - 1)
    cluster.clients = 1
    cluster.minutes(1)
    cluster.clients = 0
    cluster.minutes(8 * 60)
    assert len(cluster.names) == 2


def test_by_clients_alone(tmp_path: Path) -> None:
    """Without idle the work does not count: nobody without work is ended, and none is made for what waits."""
    cluster = Cluster(tmp_path, instances=2, idle=None, idle_client="8h")
    cluster.hub.queued = 50
    cluster.minutes(9 * 60)
    assert len(cluster.names) == 2
    cluster.clients = 0
    cluster.minutes(8 * 60 + 1)
    assert cluster.names == []
    cluster.clients = 1
    cluster.minutes(60)
    assert cluster.names == []
    up(cluster.pool)
    assert len(cluster.names) == 2


def test_those_that_never_join(tmp_path: Path) -> None:
    """They are ended and made anew after a while, and not each minute."""
    cluster = Cluster(tmp_path, instances="2-4")
    cluster.cloud.console = lambda id: "cncp: failed: no space left\n"  # type: ignore[method-assign]  # noqa: A006, ARG005
    del cluster.hub.uuids[1]
    cluster.minutes(int(RETRY / 60))
    assert cluster.names == ["host-1", "host-2"]
    cluster.minutes(1)
    assert cluster.names == ["host-1", "host-3"]
    assert cluster.said[0] == "memory: ending host-2: without engines for too long"
