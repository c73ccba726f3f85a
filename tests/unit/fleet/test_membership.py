"""Pools in the verbs on many machines: acquired before all else, told how to join, awaited, shown, let go."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from cncp.api import Cluster
from cncp.config.inventory import LOCAL, HostSpec, Inventory, PoolTable
from cncp.config.parsers import within
from cncp.console import Console, Stopwatch
from cncp.errors import CncpError, UsageError
from cncp.fleet import membership, operations, registry
from cncp.fleet.any_machine import Said
from cncp.fleet.model import Fleet
from cncp.fleet.phases import acquire, await_members
from cncp.fleet.phases.acquire import Acquire
from cncp.fleet.phases.await_members import AwaitMembers
from cncp.fleet.phases.base import Report, Run
from cncp.fleet.phases.publish import Publish
from cncp.fleet.phases.record import Record
from cncp.fleet.phases.tell_former import TellFormer
from cncp.fleet.registry import Placed
from cncp.fleet.remote_machine import RemoteMachine
from cncp.fleet.scene import Scene
from cncp.machine.ops.busy_engines import Manners
from cncp.pools import counts, former_pools
from cncp.pools.base import Member, Pool, Rendezvous, Say, State, Want
from cncp.pools.former_pools import Former
from cncp.ssh.pool import Crew, SomeHostsFailed
from cncp.tasks import rollout_report

from .facts import SECRET


class Fake(Pool):
    """A pool that does as it is told, and keeps what it was told."""

    kind: ClassVar = "fake"
    counted: ClassVar = "count"
    wants: ClassVar = {"count": Want(within(0, 9), "N", "how many", 1)}

    def __init__(self, home: Path, name: str = "fake", **values: Any) -> None:
        table = PoolTable("fake", values, f"cluster.toml {name}", home)
        super().__init__(table, {"count": values.get("count", 1)}, name, home)
        self.comes: list[HostSpec] = []
        self.there: list[HostSpec] = []
        self.members: list[list[Member]] = [[]]
        self.told: list[Any] = []
        self.error: CncpError | None = None

    def plan(self) -> Sequence[str]:
        return ["make one"]

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        if self.error:
            raise self.error
        say("making one")
        self.there = self.comes
        return self.comes

    def hosts(self) -> Sequence[HostSpec]:
        return self.there

    def publish(self, rendezvous: Rendezvous, say: Say) -> None:
        if self.error:
            raise self.error
        self.told.append(rendezvous)

    def observe(self) -> Sequence[Member]:
        if self.error:
            raise self.error
        return self.members.pop(0) if len(self.members) > 1 else self.members[0]

    def release(self, names: Collection[str], say: Say) -> None:
        if self.error:
            raise self.error
        self.told.append(sorted(names))
        self.members = [
            [replace(member, state=State.ENDED) if member.name in names else member for member in self.members[0]]
        ]


def fleet_of(home: Path, *pools: Pool, hosts: Sequence[HostSpec] = (), whole: bool = True) -> Fleet:
    """Return a fleet with a controller here."""
    inventory = Inventory(tuple(hosts), pools=tuple(pool.table for pool in pools))
    return Fleet(
        inventory, {LOCAL: {}}, home, inventory.everyone, whole=whole, pools=pools, choose=lambda host: host.settings
    )


def quiet() -> Console:
    """Return a console that can be read."""
    return Console(io.StringIO(), io.StringIO())


def heard(console: Console) -> str:
    """Return what the user has seen of progress."""
    assert isinstance(console.err, io.StringIO)
    return console.err.getvalue()


def run_of(fleet: Fleet) -> Run:
    """Return what phases go by."""
    console = quiet()
    unused: Any = None
    return Run(unused, unused, fleet, console, Stopwatch(console), Crew([]), None)


def test_a_pool_that_fails_is_no_host_to_run_again_on(tmp_path: Path) -> None:
    """What `--limit` does not take is not advised; of hosts alone it is."""
    scene = Scene(Inventory((HostSpec(LOCAL),)), tmp_path, [HostSpec(LOCAL)], quiet())
    scene.failures = {LOCAL: CncpError("no", "x")}
    with pytest.raises(SomeHostsFailed, match="1 of 1 host failed") as error:
        scene.finish()
    assert error.value.hint.endswith(f"with --limit {LOCAL}")
    scene.failures["fake"] = CncpError("no", "x")
    with pytest.raises(SomeHostsFailed, match="2 of 2 hosts failed") as error:
        scene.finish()
    assert error.value.hint == "mend them, then run this again"
    done = Report({"fake": CncpError("no", "x")}, (HostSpec(LOCAL),))
    with pytest.raises(SomeHostsFailed, match="1 of 2 hosts failed: fake") as error:
        rollout_report.insist(done, "--limit")
    assert error.value.hint == "mend them, then run this again"


GOLD = HostSpec("gold1", address="10.0.0.1", settings={"engines": 2})


def test_what_pools_give_is_in_the_run(tmp_path: Path) -> None:
    """Hosts of all pools, in the order of the file, with their settings; the controller may be one of them."""
    first, second = Fake(tmp_path, "a"), Fake(tmp_path, "b")
    first.comes, second.comes = [GOLD], [HostSpec("gold2")]
    console = quiet()
    found = acquire.acquired(fleet_of(tmp_path, first, second), console)
    assert [host.name for host in found.limit] == [LOCAL, "gold1", "gold2"]
    assert found.settings["gold1"] == {"engines": 2}
    assert "==> [a] making one" in heard(console)
    named = replace(fleet_of(tmp_path, first), inventory=Inventory((), HostSpec("gold1")))
    assert acquire.acquired(named, quiet()).inventory.controller == GOLD


def test_the_run_goes_on_with_them(tmp_path: Path) -> None:
    """What comes after connects to them; without pools nothing is acquired."""
    pool, report = Fake(tmp_path), Report()
    pool.comes = [GOLD]
    run = run_of(fleet_of(tmp_path, pool))
    assert Acquire().wanted(run, report)
    assert not Acquire().wanted(run_of(fleet_of(tmp_path)), report)
    after = Acquire().run(run, report)
    assert [spec.name for spec in after.pool.specs] == ["gold1"]
    assert [spec.name for spec in report.limit] == [spec.name for spec in after.fleet.limit] == [LOCAL, "gold1"]


def test_a_pool_that_gives_nothing_ends_it(tmp_path: Path) -> None:
    """Its error is the answer; that of another is told, too."""
    first, second = Fake(tmp_path, "a"), Fake(tmp_path, "b")
    first.error, second.error = CncpError("no power", "pay"), CncpError("no room", "wait")
    console = quiet()
    with pytest.raises(CncpError, match="no power"):
        acquire.acquired(fleet_of(tmp_path, first, second), console)
    assert "warning: [b] no room; wait" in heard(console)


def test_a_host_twice_is_refused(tmp_path: Path) -> None:
    """Two pools cannot have the same host, nor one a host that the file names in another."""
    first, second = Fake(tmp_path, "a"), Fake(tmp_path, "b")
    first.comes = second.comes = [GOLD]
    with pytest.raises(UsageError, match="b: gold1 is named twice"):
        acquire.acquired(fleet_of(tmp_path, first, second), quiet())


def test_only_pools_that_are_concerned_are_acquired(tmp_path: Path) -> None:
    """With --limit it is those that have one of the hosts that were named."""
    first, second = Fake(tmp_path, "a"), Fake(tmp_path, "b")
    first.there, second.comes = [GOLD], [HostSpec("gold2")]
    first.comes = [GOLD, HostSpec("gold3")]
    found = acquire.acquired(fleet_of(tmp_path, first, second, hosts=[GOLD], whole=False), quiet())
    assert [host.name for host in found.limit] == [LOCAL, "gold1"]
    assert [host.name for host in found.inventory.hosts] == ["gold1", "gold3"]


def published(tmp_path: Path, pool: Fake) -> Report:
    """Return what is left once how to join was told."""
    report = Report()
    report.controller = SimpleNamespace(external="", addresses=lambda: ["10.0.0.9", "10.0.0.9"])
    report.hosts[LOCAL] = SimpleNamespace(profile="cncp", uuids=[])  # type: ignore[assignment]
    report.secret = SECRET
    assert Publish().wanted(run_of(fleet_of(tmp_path, pool)), report)
    assert not Publish().wanted(run_of(fleet_of(tmp_path)), report)
    Publish().run(run_of(fleet_of(tmp_path, pool)), report)
    return report


def test_members_are_told_how_to_join(tmp_path: Path) -> None:
    """Each pool is given the engines' connection file, the ways to the controller and its settings."""
    pool = Fake(tmp_path, engines=3)
    assert not published(tmp_path, pool).failures
    assert pool.told == [Rendezvous("cncp", SECRET.to_json(), ("10.0.0.9",), {"engines": 3})]


def test_a_pool_that_cannot_be_told(tmp_path: Path) -> None:
    """It is noted under its name, and not waited for."""
    pool = Fake(tmp_path)
    pool.error = CncpError("the store is gone", "mend it")
    report = published(tmp_path, pool)
    assert report.failures["fake"].message == "the store is gone"
    AwaitMembers().run(run_of(fleet_of(tmp_path, pool)), report)
    assert not report.members


def test_members_are_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until none is coming; what becomes of each is told, and those that fail are failures, with their cause."""
    monkeypatch.setattr(await_members, "_LOOK", 0.001)
    pool = Fake(tmp_path)
    pool.there = [GOLD]
    booting = [Member("gold1", State.JOINED), Member("m1", State.BOOTING), Member("m2", State.REQUESTED)]
    joined = [booting[0], Member("m1", State.JOINED, engines=4), Member("m2", State.FAILED, "no capacity")]
    pool.members = [booting, booting, [*joined, Member("m0", State.ENDED)]]
    run, report = run_of(fleet_of(tmp_path, pool, hosts=[GOLD])), Report()
    AwaitMembers().run(run, report)
    assert list(report.members) == ["m1", "m2", "m0"]
    assert "[m1] joined\n" in heard(run.console)
    assert "[m2] failed: no capacity\n" in heard(run.console)
    assert {name: error.message for name, error in report.failures.items()} == {"m2": "it is failed: no capacity"}
    assert report.all_engines == report.all_answering == 4


def test_engines_that_begin_anew_are_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After new keys the controller answers before those do who joined: they are lost for a moment, or for good."""
    monkeypatch.setattr(await_members, "_LOOK", 0.001)
    pool, gone = Fake(tmp_path), Fake(tmp_path, "gone")
    silent = [Member("m1", State.LOST, "its engines do not answer"), Member("m2", State.JOINED, engines=1)]
    pool.members = [silent, silent, silent, [Member("m1", State.JOINED, engines=1), silent[1]]]
    report = Report()
    AwaitMembers().run(run_of(fleet_of(tmp_path, pool)), report)
    assert report.failures == {}
    monkeypatch.setattr(await_members, "_RETURNS", 0.01)
    gone.members = [silent]
    AwaitMembers().run(run_of(fleet_of(tmp_path, gone)), report)
    assert {name: error.message for name, error in report.failures.items()} == {
        "m1": "it is lost: its engines do not answer"
    }


def test_nobody_is_awaited_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not come in time is a failure that the next run may mend; so is a pool that cannot be asked."""
    monkeypatch.setattr(Fake, "patience", 0.0)
    late, broken = Fake(tmp_path, "late"), Fake(tmp_path, "broken")
    late.members, broken.error = [[Member("m1", State.BOOTING)]], CncpError("no answer", "wait")
    report = Report()
    assert AwaitMembers().wanted(run_of(fleet_of(tmp_path, late)), report)
    AwaitMembers().run(run_of(fleet_of(tmp_path, late, broken)), report)
    assert {name: error.message for name, error in report.failures.items()} == {
        "broken": "no answer",
        "m1": "it is booting",
    }


def placed(name: str) -> Placed:
    """Return a host on which something of ours is."""
    return Placed(name, "/r", "/h", {}, (), HostSpec(name))


def test_members_that_are_off_are_not_forgotten(tmp_path: Path) -> None:
    """A host that was set up and is no longer in the file is told; one that a pool has and does not run is not."""
    pool = Fake(tmp_path)
    pool.members = [[Member("off", State.ENDED)]]
    registry.save(tmp_path, {name: placed(name) for name in ("off", "lost")})
    run = run_of(fleet_of(tmp_path, pool))
    Record().run(run, Report())
    assert "[lost] is set up, but no longer in the file" in heard(run.console)
    assert "[off]" not in heard(run.console)


def test_members_are_shown_beside_services(tmp_path: Path) -> None:
    """Those that are no hosts, with state and cause; a pool that cannot be asked is a failure."""
    pool, broken = Fake(tmp_path), Fake(tmp_path, "broken")
    members = (Member("gold1", State.JOINED), Member("m1", State.LOST, "silent"), Member("m2", State.JOINED, "", 0, 2))
    pool.members = [list(members)]
    broken.error = CncpError("no answer", "wait")
    failures: dict[str, CncpError] = {}
    shown = membership.rows([pool, broken], ["gold1"], failures)
    assert [(row.name, row.host, row.state, row.last_exit) for row in shown] == [
        ("member", "m1", "lost", "silent"),
        ("member", "m2", "joined", "2 engines"),
    ]
    assert list(failures) == ["broken"]


def test_members_are_let_go(tmp_path: Path) -> None:
    """Those that are chosen, whatever their state, but for those that have ended; failures are the pool's."""
    pool, broken = Fake(tmp_path), Fake(tmp_path, "broken")
    pool.members = [[Member("m1", State.JOINED), Member("m2", State.FAILED), Member("m3", State.ENDED)]]
    broken.error = CncpError("no answer", "wait")
    failures = membership.released([pool, broken], lambda name: name != "m1", print)
    assert pool.told == [["m2"]]
    assert list(failures) == ["broken"]


def test_nothing_is_left_of_members(tmp_path: Path) -> None:
    """Those that are gone are named, so that what was set up on them can be forgotten, and on no others."""
    pool, broken = Fake(tmp_path), Fake(tmp_path, "broken")
    pool.members = [[Member("m1", State.JOINED)]]
    broken.error = CncpError("no answer", "wait")
    registry.save(tmp_path, {name: placed(name) for name in ("m1", "gold1")})
    assert membership.names([pool, broken]) == {"m1"}
    done = membership.discarded([pool, broken], print)
    assert (done.results, list(done.failures)) == ({"fake": {"m1"}}, ["broken"])
    membership.forget(tmp_path, {"m1"})
    assert list(registry.load(tmp_path)) == ["gold1"]
    membership.forget(tmp_path, set())
    assert list(registry.load(tmp_path)) == ["gold1"]


class Asked(RemoteMachine):
    """A host that does as it is told, or is busy."""

    def __init__(self, name: str, busy: bool, told: list[str]) -> None:
        self.name = name
        self._busy = busy
        self._told = told

    def down(self, manners: Manners) -> Said:
        if self._busy:
            raise CncpError("engine-0 is busy", "wait, or --force")
        self._told.append(f"down {self.name}")
        return ["stopped"]

    def uninstall(self) -> Said:
        self._told.append(f"uninstall {self.name}")
        return ["removed"]


def scene_of(home: Path, pools: Sequence[Pool], busy: Sequence[str] = (), hosts: str = "m1 m2", **more: Any) -> Any:
    """Return a cluster of a controller here and hosts, connected, and what they were told."""
    specs = [HostSpec(name) for name in hosts.split()]
    registry.save(home, {spec.name: placed(spec.name) for spec in specs})
    made = Scene(Inventory(tuple(specs)), home, [HostSpec(LOCAL), *specs], quiet(), pools=pools, **more)
    told: list[str] = []
    made.machines = {name: Asked(name, name in busy, told) for name in (LOCAL, *hosts.split())}
    return made, told


def test_down_lets_go_of_what_runs_nothing(tmp_path: Path) -> None:
    """Of members whose engines were stopped; not of a busy host, nor, with a busy controller, of what is no host."""
    everyone = [Member(name, State.JOINED) for name in ("m1", "m2", "m3")]
    for busy, gone in (((), ["m1", "m2", "m3"]), (("m2",), ["m1", "m3"]), ((LOCAL,), ["m1", "m2"])):
        pool = Fake(tmp_path)
        pool.members = [everyone]
        scene, told = scene_of(tmp_path, [pool], busy)
        operations.down(scene, Manners())
        assert pool.told == [gone]
        assert "down m1" in told
        assert list(scene.failures) == list(busy)
    pool = Fake(tmp_path)
    pool.members = [everyone]
    scene, _ = scene_of(tmp_path, [pool], hosts="m1", whole=False)
    operations.down(scene, Manners())
    assert pool.told == [["m1"]]


def test_fewer_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are more are let go and forgotten, but for busy ones, which stay; the number is kept."""
    monkeypatch.setattr(Fake, "surplus", lambda _: ["m2", "m3", "m4"])
    pool = Fake(tmp_path, count=4)
    scene, told = scene_of(tmp_path, [pool], ["m2"], "m1 m2 m3")
    assert operations.scale_pool(scene, pool, "-3", Manners()) == {"m3": ["stopped"]}
    assert told == ["down m3"]
    # One of these came by itself, and its pool sees to its engines.
    assert pool.told == [["m3", "m4"]]
    assert list(registry.load(tmp_path)) == ["m1", "m2"]
    assert list(scene.failures) == ["m2"]
    again = Fake(tmp_path, count=4)
    counts.restore([again], tmp_path)
    assert (pool.count, again.count) == (1, 1)


def test_fewer_members_that_compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get nothing new; what they compute is waited for, or lost with --force; else nothing changes at all."""
    monkeypatch.setattr(Fake, "surplus", lambda _: ["m4", "m5"])
    asked: list[tuple[list[str], bool]] = []
    tasks = [["m5"]]

    def drain(_: Fake, names: Collection[str], *, hold: bool = True) -> list[str]:
        asked.append((list(names), hold))
        return tasks.pop() if len(tasks) > 1 else tasks[0]

    monkeypatch.setattr(Fake, "drain", drain)
    pool = Fake(tmp_path, count=4)
    scene, _ = scene_of(tmp_path, [pool])
    with pytest.raises(CncpError, match="m5 is busy: scale 2 would lose its task"):
        operations.scale_pool(scene, pool, "2", Manners())
    assert asked == [(["m4", "m5"], True), (["m4", "m5"], False)]
    assert pool.told == []
    again = Fake(tmp_path, count=4)
    counts.restore([again], tmp_path)
    assert again.count == 4
    operations.scale_pool(scene, pool, "2", Manners(force=True))
    tasks = [[], ["m5"], ["m5"]]
    operations.scale_pool(scene, pool, "2", Manners(wait=20.0))
    assert tasks == [[]]
    assert pool.told == [["m4", "m5"]] * 2


def test_uninstall_leaves_nothing_of_pools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts first, then what pools have made, then this machine; which stays where a pool fails."""
    monkeypatch.setattr(operations, "_clear", lambda *_: None)
    pool = Fake(tmp_path)
    pool.members = [[Member("m1", State.JOINED)]]
    scene, told = scene_of(tmp_path, [pool])
    assert [list(said) for said in operations.uninstall(scene)] == [["m1", "m2"], [LOCAL]]
    assert pool.told == [["m1"]]
    pool.error = CncpError("no answer", "wait")
    scene, told = scene_of(tmp_path, [pool])
    assert [list(said) for said in operations.uninstall(scene)] == [["m1", "m2"]]
    assert f"uninstall {LOCAL}" not in told
    assert list(scene.failures) == ["fake"]


def test_which_pool_is_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only one with a number, or the one that is named; none where hosts are named."""
    first, second = Fake(tmp_path, "a"), Fake(tmp_path, "b")

    def scalable(*pools: Pool, named: str = "", whole: bool = True) -> Pool | None:
        found: Pool | None = Scene(Inventory(()), tmp_path, [], quiet(), pools=pools, whole=whole).scalable(named)
        return found

    assert scalable() is None
    assert scalable(first) is first
    assert scalable(first, second, named="b") is second
    assert scalable(first, whole=False) is None
    with pytest.raises(UsageError, match="contradict each other"):
        scalable(first, named="a", whole=False)
    with pytest.raises(UsageError, match="there are 2 pools") as caught:
        scalable(first, second)
    assert caught.value.hint == "name one: --pool a"
    with pytest.raises(UsageError, match="--pool c, which is no pool") as caught:
        scalable(first, second, named="c")
    assert caught.value.hint == "there are: a, b"
    monkeypatch.setattr(Fake, "counted", "")
    assert scalable(first) is None
    with pytest.raises(UsageError, match="which is no pool"):
        scalable(first, named="a")


def test_a_program_names_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The members of that one are more or fewer, and what is missing comes with `up`."""
    first, second = Fake(tmp_path, "a", count=1), Fake(tmp_path, "b", count=2)
    scene, _ = scene_of(tmp_path, [first, second])
    cluster = Cluster(None, progress=False)
    followed: list[dict[str, Any]] = []
    monkeypatch.setattr(cluster, "_scene", lambda _: contextlib.nullcontext(scene))
    monkeypatch.setattr(cluster, "up", lambda **options: followed.append(options))
    cluster.scale("+3", pool="b", wait=7)
    assert (first.count, second.count) == (1, 5)
    assert followed == [{"wait": 7, "force": False}]
    with pytest.raises(UsageError, match="there are 2 pools"):
        cluster.scale(3)
    with pytest.raises(UsageError, match="--pool c, which is no pool"):
        cluster.scale(3, pool="c")
    assert len(followed) == 1


def kept(home: Path, **counts: int) -> tuple[Former, ...]:
    """Return pools of ours that the file has no more, each with so many members; their own class is `Fake`."""
    pools = [Fake(home, name) for name in counts]
    for pool, count in zip(pools, counts.values(), strict=True):
        pool.members = [[Member(f"{pool.name}{number}", State.JOINED) for number in range(count)]]
    former_pools.keep(pools, home)
    return tuple(Former(pool.table, pool.name, home, pool) for pool in pools)


def test_what_the_file_has_no_more_is_told_and_stays(tmp_path: Path) -> None:
    """Until it is let go; what has no members is forgotten, and what cannot be asked is neither."""
    full, empty = kept(tmp_path, full=2, empty=0)
    lost = Former(full.table, "lost", tmp_path, CncpError("there is no provider 'x'", "install it"))
    run = run_of(replace(fleet_of(tmp_path), former=(full, empty, lost)))
    assert TellFormer().wanted(run, Report())
    assert not TellFormer().wanted(run_of(fleet_of(tmp_path)), Report())
    TellFormer().run(run, Report())
    unknown = "what it has made is not known: there is no provider 'x'"
    forget = f"where nothing of it is left: rm {former_pools.STORE.path(tmp_path)}"
    assert heard(run.console).splitlines() == [
        f"warning: the pool full is no longer in the file, and has 2 members; let go of what it has: {full.remedy}",
        f"warning: the pool lost, which is no longer in the file: {unknown}; install it; {forget}",
    ]
    assert former_pools.kept(tmp_path).keys() == {"full"}
    assert [member.name for member in full.observe()] == ["full0", "full1"]


def test_what_the_file_has_no_more_is_let_go(tmp_path: Path) -> None:
    """By its name alone; nothing is made of it any more."""
    (full,) = kept(tmp_path, full=2)
    scene = Scene(Inventory((HostSpec(LOCAL),)), tmp_path, [HostSpec(LOCAL)], quiet(), pools=[full])
    assert scene.scalable("") is None
    assert scene.scalable("full") is full
    assert (full.plan(), full.acquire(lambda _: None)) == ((), ())
    with pytest.raises(UsageError, match="no longer in the file"):
        operations.scale_pool(scene, full, "+1", Manners())
    operations.scale_pool(scene, full, "0", Manners())
    assert former_pools.kept(tmp_path) == {}
    assert not counts.STORE.path(tmp_path).exists()
