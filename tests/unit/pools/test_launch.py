"""Instances made and ended in a cloud of memory, with what clouds do to those who count on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.pools.cloud.journal import Batch, Journal
from cncp.pools.cloud.launch import Boot, Launcher, Wish
from cncp.pools.cloud.patience import THROTTLED
from cncp.pools.cloud.provider import BATCH, CLUSTER, EXPIRES, OWNER, PRICE, Instance, QuotaExceeded, Throttled, Unsure
from cncp.pools.cloud.reclaim import GRACE, census, close, end, settled
from cncp.rendezvous.publishing import new_batch

from .memory_cloud import Hands, Killed, Memory

CLUSTER_ID = "0f3a9c1e55aa7b20"
SITE = {"provider": "memory", "cloud": "", "region": "here"}


class Owner:
    """Somebody with a cluster in a cloud: what the commands do for him."""

    def __init__(self, home: Path, cloud: Memory, spot: str = "no") -> None:
        self.home, self.cloud, self.spot = home, cloud, spot
        self.said: list[str] = []
        self.dropped: list[str] = []

    @property
    def journal(self) -> Journal:
        """What is on the disk."""
        return Journal.of(self.home, CLUSTER_ID, "ada@gold")

    def _boot(self) -> Boot:
        return Boot(new_batch(), "#!/bin/sh\n", self.cloud.clock.now() + 3600)

    def make(self, count: int) -> list[Instance]:
        """Make so many more."""
        wish = Wish("memory", self.spot, 0.1, self._boot, self.dropped.append)
        return Launcher(self.cloud, self.journal, wish, self.cloud.clock, self.said.append).bring(count)

    def up(self, count: int) -> None:
        """Have so many, whatever a command before left."""
        journal = self.journal
        for batch in journal.open():
            if batch.stage == "PLANNED":
                settled(self.cloud, journal, batch, self.cloud.clock)
        there = len(census(self.cloud, journal, self.cloud.clock))
        if count > there:
            self.make(count - there)

    def down(self) -> None:
        """End everything."""
        journal = self.journal
        close(journal, "", lambda _: self.cloud, self.cloud.clock, self.said.append)

    def knows(self) -> bool:
        """Tell whether the journal has every instance that costs."""
        return {instance.id for instance in self.cloud.alive} <= self.journal.ids


def test_forty_in_two_calls(tmp_path: Path) -> None:
    """At most 20 are made at once, each with our tags; afterwards the journal has all, and ends them."""
    owner = Owner(tmp_path, Memory())
    assert len(owner.make(42)) == 42
    assert [order.count for order in owner.cloud.orders] == [20, 20, 2]
    assert all(order.token == order.batch == order.tags[BATCH] for order in owner.cloud.orders)
    assert {CLUSTER, BATCH, OWNER, EXPIRES, PRICE} == owner.cloud.orders[0].tags.keys()
    assert [batch.stage for batch in owner.journal.batches] == ["RUNNING"] * 3
    assert owner.knows()
    assert (tmp_path / "cloud" / f"{CLUSTER_ID}.json").stat().st_mode & 0o777 == 0o600
    owner.down()
    assert owner.cloud.alive == []
    assert owner.journal.open() == []
    assert owner.cloud.groups == set()
    assert all(owner.cloud.ended[name] + owner.cloud.dies <= owner.cloud.clock.now() for name in owner.cloud.made)


def test_a_quota_is_told_in_numbers_before_anything_is_made(tmp_path: Path) -> None:
    """Where there is room for 3 of 5, none is made (skypilot#1268, clusterous#151)."""
    owner = Owner(tmp_path, Memory(quota=3))
    with pytest.raises(QuotaExceeded, match=r"has room for 3 of 5 .* 5 instances where 3 are free, 20 cores"):
        owner.make(5)
    assert owner.cloud.made == {}
    assert owner.journal.batches == ()


def test_a_quota_that_nobody_told(tmp_path: Path) -> None:
    """What was made before the cloud refused stays, and how many are missing is noted; down ends all."""
    owner = Owner(tmp_path, Memory(quota=25, silent=True))
    assert len(owner.make(40)) == 20
    assert owner.journal.short("memory") == "20 of 40 could not be had: InstanceLimitExceeded"
    assert len(owner.dropped) == 1
    owner.down()
    assert owner.cloud.alive == []


def test_the_next_zone(tmp_path: Path) -> None:
    """A zone without capacity is passed over, one with some is used up (ray#20774)."""
    owner = Owner(tmp_path, Memory(zones=("a", "b", "c"), capacity={"a": 0, "b": 3}))
    made = owner.make(5)
    assert sorted(instance.zone for instance in made) == ["b", "b", "b", "c", "c"]
    assert owner.journal.short("memory") == ""
    assert [batch.stage for batch in owner.journal.batches] == ["CLOSED", "RUNNING", "RUNNING"]


def test_none_anywhere(tmp_path: Path) -> None:
    """Where nothing can be had it fails at once, with the cloud's words, and leaves nothing."""
    owner = Owner(tmp_path, Memory(zones=("a", "b"), capacity={"a": 0, "b": 0}))
    with pytest.raises(CncpError, match="InsufficientInstanceCapacity"):
        owner.make(5)
    assert owner.journal.open() == []
    assert owner.cloud.clock.waited == []


@pytest.mark.parametrize(("spot", "kinds"), [("yes", [True]), ("fallback", [True, False]), ("no", [False])])
def test_spot(tmp_path: Path, spot: str, kinds: list[bool]) -> None:
    """Of spot instances there may be too few without an error (ray#5806): the rest is asked for otherwise, or told."""
    owner = Owner(tmp_path, Memory(spot_capacity=2), spot)
    assert len(owner.make(5)) == (2 if spot == "yes" else 5)
    assert [order.spot for order in owner.cloud.orders] == kinds
    assert owner.journal.short("memory").startswith("3 of 5 could not be had") == (spot == "yes")


def test_an_empty_answer_is_no_success(tmp_path: Path) -> None:
    """A cloud that makes none and says nothing of it is not waited for (ray#5806)."""
    owner = Owner(tmp_path, Memory(at_once=0))
    with pytest.raises(CncpError, match="made fewer than it was asked for"):
        owner.make(2)
    assert owner.journal.open() == []


def test_those_that_fail_later(tmp_path: Path) -> None:
    """Servers that end in an error are taken away, and the next zone has the rest; the others stay."""
    owner = Owner(tmp_path, Memory(zones=("a", "b"), broken=2))
    made = owner.make(4)
    assert sorted(instance.zone for instance in made) == ["a", "a", "b", "b"]
    assert sorted(owner.cloud.ended) == ["i-1", "i-2"]
    assert any("No valid host was found" in line for line in owner.said)


def test_all_fail(tmp_path: Path) -> None:
    """Where all end in an error there is an error, with why, and nothing is left (elasticluster#205)."""
    owner = Owner(tmp_path, Memory(broken=9))
    with pytest.raises(CncpError, match="No valid host was found"):
        owner.make(4)
    assert owner.cloud.alive == []


def test_throttling(tmp_path: Path) -> None:
    """Calls that are too many are made again, more and more slowly, but not for ever."""
    owner = Owner(tmp_path, Memory(throttled=4))
    owner.make(2)
    assert len(owner.cloud.alive) == 2
    assert min(owner.cloud.clock.waited[:4]) >= 3.0
    owner.cloud.throttled = 10**6
    began = owner.cloud.clock.now()
    with pytest.raises(Throttled):
        owner.make(2)
    assert THROTTLED / 2 < owner.cloud.clock.now() - began <= THROTTLED


def test_calls_that_are_cut_off(tmp_path: Path) -> None:
    """What does no harm when it is done twice is asked again, three times; then it is an error."""
    owner = Owner(tmp_path, Memory(cut=3))
    owner.make(2)
    owner.cloud.cut = 3
    owner.down()
    assert owner.cloud.alive == []
    owner.cloud.cut = 9
    with pytest.raises(Unsure, match="connection reset"):
        owner.make(2)


def test_no_answer_although_they_were_made(tmp_path: Path) -> None:
    """After a time-out what was made is found by its tag, and nothing is made again (dstack#3453)."""
    owner = Owner(tmp_path, Memory(blurred=1, hidden=30.0))
    assert len(owner.make(3)) == 3
    assert len(owner.cloud.made) == 3
    assert owner.knows()


def test_new_instances_that_are_not_listed(tmp_path: Path) -> None:
    """A cloud may not list what it has just made, nor end it (boto3#2556): neither is it made again, nor forgotten."""
    owner = Owner(tmp_path, Memory(hidden=20.0))
    assert len(owner.make(3)) == 3
    owner.cloud.hidden, owner.cloud.boots = 40.0, 0.0
    owner.make(2)
    owner.down()
    assert owner.cloud.alive == []
    made = owner.cloud.made
    young = Owner(tmp_path / "other", Memory(hidden=40.0))
    journal, order = young.journal, owner.cloud.orders[0]
    batch = journal.note(Batch("b" * 16, "memory", SITE, 1, young.cloud.clock.now(), 0.0))
    ids = tuple(instance.id for instance in young.cloud.create(replace(order, batch=batch.id, count=1)))
    journal.note(replace(batch, stage="REQUESTED", ids=ids))
    end(young.cloud, journal, ids, young.cloud.clock)
    assert young.cloud.alive == []
    assert len(made) == 5


def test_ended_by_somebody_else(tmp_path: Path) -> None:
    """Instances that were taken away by hand do not keep the rest from being ended (elasticluster#226)."""
    owner = Owner(tmp_path, Memory())
    owner.make(3)
    owner.cloud.clock.time += 3600
    del owner.cloud.made["i-2"]
    owner.down()
    assert owner.cloud.alive == []
    assert owner.journal.open() == []


def test_strangers_are_never_ended(tmp_path: Path) -> None:
    """Only what is in the journal or has its cluster's tag: neither others' instances nor other clusters' of ours."""
    owner = Owner(tmp_path, Memory())
    owner.make(2)
    stranger = Instance("i-900", "db", "running", tags={})
    other = Instance("i-901", "x", "running", tags={CLUSTER: "f" * 16, OWNER: "ada@gold"})
    owner.cloud.made.update({"i-900": stranger, "i-901": other})
    with pytest.raises(CncpError, match="i-900 is no instance of this cluster"):
        end(owner.cloud, owner.journal, ["i-1", "i-900"], owner.cloud.clock)
    assert owner.cloud.ended == {}
    owner.cloud.groups.clear()
    owner.down()
    assert sorted(owner.cloud.ended) == ["i-1", "i-2"]


def test_they_are_not_gone_before_they_are(tmp_path: Path) -> None:
    """What is asked to end and does not is said to be there (dstack#1551), stays in the journal, and is ended later."""
    owner = Owner(tmp_path, Memory(dies=5000.0))
    owner.make(2)
    with pytest.raises(CncpError, match=r"2 instances of memory, here are asked to end but not gone: i-1, i-2"):
        owner.down()
    assert len(owner.journal.open()) == 1
    owner.cloud.clock.time += 5000
    owner.down()
    assert owner.journal.open() == []


def test_a_group_that_is_in_use_for_a_while(tmp_path: Path) -> None:
    """What is made besides instances is taken away after them, asked for again while it is in use (StarCluster#270)."""
    owner = Owner(tmp_path, Memory(held=3))
    owner.make(1)
    owner.down()
    assert owner.cloud.groups == set()
    assert owner.cloud.calls.count("tidy") == 4


def test_a_cloud_that_does_not_answer_is_no_reason_to_leave_the_others(tmp_path: Path) -> None:
    """Each site is asked, and what went wrong is told in the end; the region is the one of then (dask-ec2#35)."""
    owner = Owner(tmp_path, Memory())
    owner.make(1)
    journal = owner.journal
    elsewhere = {**SITE, "region": "there"}
    journal.note(Batch("a" * 16, "memory", elsewhere, 1, 0.0, 0.0, stage="RUNNING", ids=("i-77",)))
    asked = []

    def connect(site: object) -> Memory:
        asked.append(site)
        if site == elsewhere:
            raise CncpError("there does not answer", "wait")
        return owner.cloud

    with pytest.raises(CncpError, match="there does not answer"):
        close(journal, "", connect, owner.cloud.clock, owner.said.append)
    assert asked == [SITE, elsewhere]
    assert owner.cloud.alive == []
    assert [batch.site["region"] for batch in journal.open()] == ["there"]


def killed_at(number: int, where: str, home: Path, act: Callable[[Owner], None], **cloud: object) -> Owner | None:
    """Do something with a command that ends before or after its call of this number; None where it makes fewer."""
    owner = Owner(home, Memory(**cloud))  # type: ignore[arg-type]
    calls = itertools.count(1)

    def perhaps(_: str) -> None:
        if next(calls) == number:
            raise Killed

    if where == "before":
        owner.cloud.before = perhaps
    else:
        owner.cloud.after = perhaps
    try:
        act(owner)
    except Killed:
        owner.cloud.before = owner.cloud.after = lambda _: None
        return owner
    return None


@pytest.mark.parametrize("hidden", [0.0, 30.0])
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_at_any_moment(tmp_path: Path, where: str, hidden: float) -> None:
    """Whatever call the command ends at, the next one has as many as are wanted, and none that nobody knows."""
    for number in itertools.count(1):
        owner = killed_at(number, where, tmp_path / str(number), lambda owner: owner.up(45), hidden=hidden)
        if owner is None:
            break
        owner.up(45)
        assert len(owner.cloud.alive) == 45, f"killed {where} call {number}"
        assert owner.knows(), f"killed {where} call {number}"
        owner.down()
        assert owner.cloud.alive == []
    assert number > 5


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_while_it_ends_them(tmp_path: Path, where: str) -> None:
    """The next `down` ends what is left, and before that nothing is forgotten."""

    def life(owner: Owner) -> None:
        owner.up(3)
        owner.down()

    for number in itertools.count(1):
        owner = killed_at(number, where, tmp_path / str(number), life)
        if owner is None:
            break
        owner.down()
        assert owner.cloud.alive == [], f"killed {where} call {number}"
        assert owner.journal.open() == []
        assert owner.cloud.groups == set()
    assert number > 5


def test_killed_by_the_journal(tmp_path: Path) -> None:
    """A journal that cannot be written, on a full disk, ends it before a call, not after."""
    owner = Owner(tmp_path, Memory())
    journal = owner.journal
    wish = Wish("memory", "no", None, owner._boot)
    journal._home = tmp_path / "none"
    (tmp_path / "none").write_text("a file where a folder is to be")
    with pytest.raises(OSError, match="none"):
        Launcher(owner.cloud, journal, wish, owner.cloud.clock, owner.said.append).bring(2)
    assert owner.cloud.made == {}


def test_what_is_settled(tmp_path: Path) -> None:
    """A call of long ago that made nothing is closed at once; a young one is given time."""
    owner = Owner(tmp_path, Memory())
    journal, clock = owner.journal, owner.cloud.clock
    old = journal.note(Batch("a" * 16, "memory", SITE, 1, clock.now() - GRACE, 0.0))
    assert settled(owner.cloud, journal, old, clock) == []
    assert clock.waited == []
    young = journal.note(Batch("b" * 16, "memory", SITE, 1, clock.now(), 0.0))
    assert settled(owner.cloud, journal, young, clock) == []
    assert sum(clock.waited) >= GRACE
    assert journal.open() == []
    assert isinstance(clock, Hands)
