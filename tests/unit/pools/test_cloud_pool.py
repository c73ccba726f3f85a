"""A pool of instances: what its table may say, and what becomes of instances on their way to engines and from there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cncp.config import sources
from cncp.config.asked import request
from cncp.config.inventory import PoolTable
from cncp.errors import CncpError, UsageError
from cncp.pools import counts
from cncp.pools.base import Rendezvous, State
from cncp.pools.cloud import cloud_table, journal
from cncp.pools.cloud.cloud_kinds import Ec2Pool, OpenStackPool
from cncp.pools.cloud.cloud_pool import CloudPool
from cncp.pools.cloud.journal import Batch
from cncp.pools.cloud.launch import Boot
from cncp.pools.cloud.provider import CLUSTER, Instance, Provider, QuotaExceeded, Template
from cncp.pools.cloud.registered import Work, is_host
from cncp.pools.guarded import Guarded
from cncp.pools.providers import pools
from cncp.rendezvous.publishing import new_batch
from cncp.tasks import rollout_report, scenes

from ..elsewhere import install
from .memory_cloud import Killed, Memory

ID = "0f3a9c1e55aa7b20"
PLAIN: dict[str, Any] = {"instances": 3, "image": "debian-12", "flavor": "m1.large"}


class Door:
    """Lets everybody in, and has engines of those hosts that are named."""

    def __init__(self) -> None:
        self.cluster = ""
        self.ports = "20000-20017"
        self.registered: dict[str, int] = {}
        self.withdrawn: list[str] = []
        self.closed: list[tuple[int, bool]] = []
        self.unregistered: list[str] = []
        self.busy: list[str] = []
        self.opened = 0
        self.drained: list[str] = []
        self.answers = True

    def begin(self, _: PoolTable) -> None:
        self.cluster = ID

    def open(self, *_: object) -> None:
        self.opened += 1

    def admit(self) -> Boot:
        return Boot(new_batch(), "#!/bin/sh\n", 1_800_003_600.0)

    def withdraw(self, batch: str) -> None:
        self.withdrawn.append(batch)

    def close(self, batches: Collection[str], *, last: bool) -> None:
        self.closed.append((len(batches), last))

    def work(self) -> Work:
        engines = {host: [(number, "")] * count for number, (host, count) in enumerate(self.registered.items())}
        busy = {list(self.registered).index(host): 1 for host in self.busy}
        return Work(engines, busy, answered=self.answers)

    def drain(self, instances: Collection[str], *, hold: bool) -> list[str]:
        self.drained = [name for name in self.drained if name not in instances] + [*(instances if hold else ())]
        return [name for name in instances if name in self.busy]

    def unregister(self, instances: list[str]) -> None:
        self.unregistered += instances


class Pool(CloudPool):
    """Instances of the cloud in memory."""

    kind: ClassVar = "memory"
    cloud: ClassVar[Memory]
    templates: ClassVar[list[Template]] = []

    @classmethod
    def connect(cls, _: Mapping[str, str], template: Template) -> Provider:
        cls.templates.append(template)
        return cls.cloud


def made(home: Path, cloud: Memory, door: Door | None = None, /, **keys: Any) -> Pool:
    """Return the pool of a table, as another command reads it."""
    Pool.cloud = cloud
    table = PoolTable("memory", {**PLAIN, **keys}, f"{home}/cluster.toml pool", home)
    pool = Pool.read(table, "memory", home)
    counts.restore([pool], home)
    pool.gate = door or Door()  # type: ignore[assignment]
    pool.clock = cloud.clock
    return pool


def up(pool: Pool) -> list[str]:
    """Do what `cncp up` does; return what was said."""
    said: list[str] = []
    pool.check()
    pool.acquire(said.append)
    pool.publish(Rendezvous("cncp", {}, ("10.0.0.254",), {}), said.append)
    return said


def states(pool: Pool) -> dict[str, str]:
    """Return what is seen of each member."""
    pool.cloud.clock.time += 30
    return {member.name: member.state.value for member in pool.observe()}


def test_from_nothing_to_engines_and_back(tmp_path: Path) -> None:
    """Requested, booting, joined; the seed is void once all of a batch have joined; and nothing is left."""
    cloud, door = Memory(), Door()
    pool = made(tmp_path, cloud, door, price=0.5)
    assert pool.observe() == []
    assert pool.plan() == ["make 3 instances of m1.large with debian-12, 1.50 an hour"]
    said = up(pool)
    assert "3 instances requested" in said
    assert "3 instances made in memory, here" in said
    assert states(pool) == dict.fromkeys(["host-1", "host-2", "host-3"], "booting")
    door.registered = {"host-1": 4, "host-2": 4}
    assert sorted(states(pool).values()) == ["booting", "joined", "joined"]
    assert door.withdrawn == []
    door.registered["host-3"] = 4
    assert set(states(pool).values()) == {"joined"}
    assert [member.engines for member in pool.observe()] == [4, 4, 4]
    [batch] = pool.journal.batches
    assert (batch.stage, batch.joined) == ("JOINED", 3)
    assert door.withdrawn == [batch.id]
    assert pool.plan() == []
    again = made(tmp_path, cloud, door)
    up(again)
    assert cloud.calls.count("create") == 1
    again.release(["host-1", "host-2", "host-3"], said.append)
    assert cloud.alive == []
    assert cloud.groups == set()
    assert door.closed == [(1, True)]
    assert journal.clusters(tmp_path) == []
    assert again.observe() == []
    again.discard(said.append)


def test_more_and_fewer(tmp_path: Path) -> None:
    """Scaling makes what is missing, and first lets go who has not joined, then the youngest."""
    cloud, door = Memory(), Door()
    up(made(tmp_path, cloud, door))
    door.registered = {"host-1": 1, "host-3": 1}
    pool = made(tmp_path, cloud, door)
    cloud.clock.time += 60
    pool.scale(5)
    counts.keep(pool)
    up(pool)
    assert len(cloud.alive) == 5
    door.registered |= {"host-4": 1}
    pool = made(tmp_path, cloud, door)
    assert pool.count == 5
    pool.scale(2)
    counts.keep(pool)
    door.busy = ["host-4"]
    assert pool.surplus() == ["host-5", "host-2", "host-1"]
    # Those that compute come last, and are told: what is to become of their tasks the verb decides.
    door.busy = ["host-1", "host-4"]
    assert pool.surplus() == ["host-5", "host-2", "host-3"]
    pool.scale(1)
    assert pool.surplus() == ["host-5", "host-2", "host-3", "host-4"]
    assert pool.drain(pool.surplus()) == ["host-4"]
    assert sorted(door.drained) == ["host-2", "host-3", "host-4", "host-5"]
    assert pool.drain(["host-4"], hold=False) == ["host-4"]
    assert "host-4" not in door.drained
    pool.scale(2)
    door.busy = []
    assert pool.surplus() == ["host-5", "host-2", "host-4"]
    pool.release(pool.surplus(), print)
    assert sorted(instance.name for instance in cloud.alive) == ["host-1", "host-3"]
    assert sorted(door.unregistered) == ["host-2", "host-4", "host-5"]
    assert states(pool) == {"host-1": "joined", "host-3": "joined"}
    # A number that is changed in the file counts from then on.
    assert made(tmp_path, cloud, door).count == 2
    assert made(tmp_path, cloud, door, instances=4).count == 4
    with pytest.raises(UsageError, match="-1 instances are not possible"):
        pool.scale(-1)


def test_what_is_told_on_the_console(tmp_path: Path) -> None:
    """How far an instance is, and why it failed, stands on its console."""
    cloud, door = Memory(), Door()
    pool = made(tmp_path, cloud, door, instances=5)
    up(pool)
    texts = {
        "i-1": "boot\ncncp: fetching\n",
        "i-2": "cncp: fetching\ncncp: installing\n",
        "i-3": "| sum\ncncp: failed: the code could not be fetched\n",
        "i-4": "cncp: joined\n",
    }
    cloud.console = lambda id: texts.get(id, "")  # type: ignore[method-assign]  # noqa: A006
    assert list(states(pool).values()) == ["fetching", "installing", "failed", "lost", "booting"]
    causes = {member.name: member.cause for member in pool.observe()}
    assert causes["host-3"] == "the code could not be fetched"
    assert causes["host-4"] == "its engines do not answer the controller"
    cloud.clock.time += 4000
    late = {member.name: member for member in pool.observe()}
    assert late["host-1"].state is State.FAILED
    assert "it has not joined in time: boot · cncp: fetching" in late["host-1"].cause


def test_one_that_never_joins(tmp_path: Path) -> None:
    """The next `up` ends it and makes another, once the controller says that its engines are not there."""
    cloud, door = Memory(), Door()
    up(made(tmp_path, cloud, door))
    door.registered = {"host-1": 1, "host-2": 1}
    assert states(made(tmp_path, cloud, door))["host-3"] == "booting"
    up(made(tmp_path, cloud, door))
    assert len(cloud.alive) == 3
    cloud.clock.time += 1300
    door.registered, door.answers = {}, False
    up(made(tmp_path, cloud, door))
    assert sorted(instance.name for instance in cloud.alive) == ["host-1", "host-2", "host-3"]
    door.registered, door.answers = {"host-1": 1, "host-2": 1}, True
    said = up(made(tmp_path, cloud, door))
    assert "ending 1 instance that run no engines any more" in said
    assert sorted(instance.name for instance in cloud.alive) == ["host-1", "host-2", "host-4"]
    door.registered["host-4"] = 1
    assert set(states(made(tmp_path, cloud, door)).values()) == {"joined"}
    # All have joined once: that their engines are away for a while has none ended.
    cloud.clock.time += 1300
    door.registered = {}
    up(made(tmp_path, cloud, door))
    assert sorted(instance.name for instance in cloud.alive) == ["host-1", "host-2", "host-4"]


def test_those_that_end_by_themselves(tmp_path: Path) -> None:
    """One that the cloud took away is lost; one that has switched itself off is ended, and both are replaced."""
    cloud, door = Memory(), Door()
    pool = made(tmp_path, cloud, door)
    up(pool)
    door.registered = {"host-1": 1, "host-2": 1, "host-3": 1}
    assert set(states(pool).values()) == {"joined"}
    del cloud.made["i-1"]
    cloud.made["i-2"] = Instance(**{**vars(cloud.made["i-2"]), "state": "stopped"})
    cloud.console = lambda id: "cncp: joined\npower off"  # type: ignore[method-assign]  # noqa: A006, ARG005
    door.registered = {"host-3": 1}
    assert states(pool) == {"host-2": "lost", "host-3": "joined", "i-1": "lost"}
    pool = made(tmp_path, cloud, door)
    up(pool)
    assert sorted(instance.name for instance in cloud.alive) == ["host-3", "host-4", "host-5"]
    assert "i-2" in cloud.ended
    assert set(states(pool)) == {"host-3", "host-4", "host-5"}


def test_one_that_ends_itself_meanwhile(tmp_path: Path) -> None:
    """Told to stop, instances may be gone before they are ended: nothing is left of them either way."""
    cloud, door = Memory(), Door()
    up(made(tmp_path, cloud, door))
    pool = made(tmp_path, cloud, door)
    names = list(states(pool))
    cloud.made.clear()
    pool.release(names, print)
    assert journal.clusters(tmp_path) == []
    assert cloud.groups == set()


def test_a_look_while_others_write(tmp_path: Path) -> None:
    """Who counts those that have joined writes over nothing that another command has noted meanwhile, nor fails."""
    cloud, door = Memory(), Door()
    up(made(tmp_path, cloud, door))
    door.registered = {"host-1": 1, "host-2": 1, "host-3": 1}
    pool, meanwhile = made(tmp_path, cloud, door), made(tmp_path, cloud, door)
    with journal.locked(tmp_path, "cncp up"):
        assert set(states(pool).values()) == {"joined"}
    assert door.withdrawn == []
    site = cloud.site

    def noted(_: str) -> None:
        cloud.after = lambda _: None
        meanwhile.journal.note(Batch("b" * 16, "memory", site, 1, 0.0, 0.0))
        meanwhile.journal.without(["i-2"])

    cloud.after = noted
    assert set(states(pool).values()) == {"joined"}
    first, second = sorted(pool.journal.open(), key=lambda batch: batch.stage)
    assert (first.stage, first.ids) == ("JOINED", ("i-1", "i-3"))
    assert (second.stage, second.id) == ("PLANNED", "b" * 16)
    assert door.withdrawn == [first.id]


def test_ports_that_are_known_later(tmp_path: Path) -> None:
    """A cluster that is made with its pool has no ports when it is checked; its security group gets those it has."""
    cloud, door = Memory(), Door()
    door.ports = ""
    pool = made(tmp_path, cloud, door, controller_group="sg-1")
    pool.check()
    assert Pool.templates[-1].ports == ""
    door.ports = "31000-31017"
    up(pool)
    assert Pool.templates[-1].ports == "31000-31017"


def test_some_are_missing(tmp_path: Path) -> None:
    """What could not be had is a member that failed, with why, and no longer once it could."""
    cloud, door = Memory(capacity={"": 2}), Door()
    pool = made(tmp_path, cloud, door)
    up(pool)
    members = {member.name: member for member in pool.observe()}
    assert members["memory-missing"].state is State.FAILED
    assert members["memory-missing"].cause.startswith("1 of 3 could not be had")
    cloud.capacity = {}
    up(pool)
    assert len(cloud.alive) == 3
    assert "memory-missing" not in states(pool)


def test_a_quota_is_told_before_anything_is_changed(tmp_path: Path) -> None:
    """By the check of a plan as well."""
    cloud, door = Memory(quota=2), Door()
    with pytest.raises(QuotaExceeded, match="has room for 2 of 3"):
        made(tmp_path, cloud, door).check()
    assert cloud.made == {}
    assert door.cluster == ""


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    """A command that is killed while it makes them leaves none that the next one does not find."""
    cloud, door = Memory(), Door()

    def killed(name: str) -> None:
        raise Killed

    cloud.after = lambda name: killed(name) if name == "create" else None
    with pytest.raises(Killed):
        up(made(tmp_path, cloud, door))
    cloud.after = lambda _: None
    assert len(cloud.alive) == 3
    said = up(made(tmp_path, cloud, door))
    assert "looking for instances that were asked for by a command that was cut off" in said
    assert len(cloud.alive) == 3


def test_two_instances_of_one_name(tmp_path: Path) -> None:
    """Addresses of two networks may be the same: members have names that differ, and each is let go by its own."""
    cloud, door = Memory(), Door()
    pool = made(tmp_path, cloud, door, instances=2)
    up(pool)
    for name, instance in cloud.made.items():
        cloud.made[name] = Instance(**{**vars(instance), "name": "ip-10-0-0-4"})
    assert set(states(pool)) == {"ip-10-0-0-4-i-1", "ip-10-0-0-4-i-2"}
    pool.release(["ip-10-0-0-4-i-2"], print)
    assert [instance.id for instance in cloud.alive] == ["i-1"]


def test_others_are_left(tmp_path: Path) -> None:
    """Instances of another pool, of another cluster and of strangers are none of its members, and stay."""
    cloud, door = Memory(), Door()
    pool = made(tmp_path, cloud, door, instances=1)
    up(pool)
    cloud.made["i-8"] = Instance("i-8", "other", "running", tags={CLUSTER: "f" * 16})
    cloud.made["i-9"] = Instance("i-9", "db", "running")
    assert set(states(pool)) == {"host-1"}
    pool.release(["other", "db", "i-8", "i-9"], print)
    assert cloud.ended == {}


def test_hosts_beside_a_controller_elsewhere(tmp_path: Path) -> None:
    """Who looks after instances could not reach them: it is said before any host or cloud is asked."""
    file = tmp_path / "cluster.toml"
    table = '[[pool]]\nprovider = "ec2"\ninstances = 2\nimage = "ami-1"\nflavor = "m"\n'
    file.write_text(f'controller = "gold1"\n{table}[[pool]]\nhosts = ["gold1"]\n')
    asked = request({"HOME": str(tmp_path)}, file=str(file), flags={}, forget=True)
    with pytest.raises(UsageError, match="gold1 looks after it, and does not know how to reach that of") as caught:
        rollout_report.fleet(asked, scenes.inventory(asked), limit="", strict=False)
    assert "without controller on gold1" in caught.value.hint


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"instances": 0}, "instances must be a number from 1"),
    ({"instances": -1}, "instances must be"),
    ({"instances": 1001}, "instances must be"),
    ({"instances": True}, "instances must be"),
    ({"instances": 2.5}, "instances must be"),
    ({"instances": "many"}, "instances must be"),
    ({"instances": "40-2"}, "instances must be"),
    ({"instances": "0-0"}, "instances must be"),
    ({"instances": [2]}, "instances must be"),
    ({"instances": "2-40"}, "idle"),
    ({"image": ""}, "image must be"),
    ({"image": 7}, "image must be"),
    ({"image": "a'b"}, "image must be"),
    ({"flavor": "\n"}, "flavor must be"),
    ({"flavor": " x"}, "flavor must be"),
    ({"cloud": ["a"]}, "cloud must be"),
    ({"region": 1}, "region must be"),
    ({"zones": "a"}, "zones must be"),
    ({"zones": [1]}, "zones must be"),
    ({"zones": ["a", "a"]}, "zones must be"),
    ({"spot": "maybe"}, "spot must be no, yes or fallback"),
    ({"spot": 1}, "spot must be"),
    ({"idle": 30}, "idle must be"),
    ({"idle": "30"}, "idle must be"),
    ({"idle": "0m"}, "idle must be"),
    ({"idle": "2d"}, "idle must be"),
    ({"idle": "999999h"}, "idle must be"),
    ({"idle_client": "30s"}, "idle_client must be a time from 1m to 168h"),
    ({"idle_client": "8d"}, "idle_client must be"),
    ({"idle_client": 8}, "idle_client must be"),
    ({"idle_client": False}, "idle_client must be"),
    ({"deadline": "1m"}, "deadline must be a time from 10m to 24h"),
    ({"deadline": "25h"}, "deadline must be"),
    ({"price": -1}, "price must be"),
    ({"price": "1"}, "price must be"),
    ({"price": False}, "price must be"),
    ({"index": "http://plain.example"}, "index must be"),
    ({"index": "https://a'; reboot"}, "index must be"),
    ({"groups": "default"}, "groups must be"),
    ({"certificate": "none.pem"}, "certificate must be a file in PEM"),
    ({"flavour": "m1.large"}, "did you mean flavor"),
    ({"hosts": ["gold1"]}, "there"),
    ({"engines": "lots"}, "engines must be"),
    ({"listen": "all"}, "whole cluster's"),
]


@pytest.mark.parametrize(("keys", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_a_table_cannot_say(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    """It is refused when it is read, with what to write, and no cloud is asked."""
    with pytest.raises(UsageError) as caught:
        made(tmp_path, Memory(), **keys)
    assert told in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("missing", ["instances", "image", "flavor"])
def test_what_a_table_must_say(tmp_path: Path, missing: str) -> None:
    """Without it nothing can be made."""
    Pool.cloud = Memory()
    values = {key: value for key, value in PLAIN.items() if key != missing}
    with pytest.raises(UsageError, match=f"there is no {missing}"):
        Pool.read(PoolTable("memory", values, "cluster.toml pool", tmp_path), "memory", tmp_path)


def test_what_a_table_can_say(tmp_path: Path) -> None:
    """Everything at once, as the cloud is given it."""
    (tmp_path / "lab.pem").write_text("text\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nmore\n")
    keys = {
        "instances": "2-40", "idle": "30m", "idle_client": "8h", "zones": ["a", "b"],
        "spot": True, "deadline": "2h", "network": "lab",
        "key": "ada", "groups": ["default"], "controller_group": "sg-1", "price": 0.1, "certificate": "lab.pem",
        "index": "https://u:p@pypi.example/simple", "engines": 4, "cloud": "griffin", "region": "One",
    }  # fmt: skip
    pool = made(tmp_path, Memory(), **keys)
    pool.check()
    assert Pool.templates[-1] == Template(
        "debian-12", "m1.large", ("a", "b"), "lab", "ada", ("default",), True, "sg-1", "20000-20017"
    )
    assert pool._certificate == "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert (pool.count, pool.wanted["idle"], pool.patience) == (2, 1800, 1200.0)
    assert pool.wanted["idle_client"] == 8 * 3600
    assert pool.settings == {"engines": 4}
    assert cloud_table.duration(1, 86400)("24h") == 86400


THEIRS = """
from cncp.pools.cloud.cloud_pool import CloudPool


class Nimbus(CloudPool):
    kind = "nimbus"

    @classmethod
    def connect(cls, site, template):
        raise NotImplementedError
"""


def test_a_cloud_of_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that gives a provider has the same pool as ours, with all that is said of instances."""
    install(tmp_path / "packages", "nimbus", {"nimbus_cncp": THEIRS}, {"cncp.pools": {"nimbus": "nimbus_cncp:Nimbus"}})
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    file = tmp_path / "cluster.toml"
    file.write_text('[[pool]]\nprovider = "nimbus"\ninstances = 2\nimage = "debian-12"\nflavor = "s"\nengines = 1\n')
    [pool] = pools(sources.read(file)[1], tmp_path)
    assert pool.plan() == ["make 2 instances of s with debian-12"]
    assert isinstance(pool, Guarded)
    assert isinstance(pool.inner, CloudPool)
    with pytest.raises(CncpError, match="NotImplementedError"):
        pool.check()


def test_hosts_with_their_domain() -> None:
    """On some clouds a system calls itself by its whole name; none is taken for another one."""
    assert is_host("ip-10-0-0-5", "ip-10-0-0-5")
    assert is_host("ip-10-0-0-5-eu-central-1-compute-internal", "ip-10-0-0-5")
    assert is_host("cncp-0f3a-b2-1-novalocal", "cncp-0f3a-b2-1")
    assert not is_host("ip-10-0-0-50", "ip-10-0-0-5")
    assert not is_host("cncp-0f3a-b2-10", "cncp-0f3a-b2-1")


def test_kinds() -> None:
    """What stands as provider."""
    assert (Ec2Pool.kind, OpenStackPool.kind) == ("ec2", "openstack")


def test_a_cloud_that_says_no(tmp_path: Path) -> None:
    """What it says is told as it is."""
    cloud = Memory()

    def refuse() -> None:
        raise CncpError("memory does not let us in", "log in")

    cloud.check = refuse  # type: ignore[method-assign]
    with pytest.raises(CncpError, match="does not let us in"):
        made(tmp_path, cloud).check()


def test_instances_stay_what_they_were_made(tmp_path: Path) -> None:
    """`up` says so, as long as the file says another thing of what they have for good, and how to have others."""
    cloud, door = Memory(), Door()
    up(made(tmp_path, cloud, door, engines=1))
    assert not [line for line in up(made(tmp_path, cloud, door, engines=1, instances=2)) if "stay" in line]
    other = made(tmp_path, cloud, door, engines=2, flavor="m1.small")
    for _ in range(2):
        assert (
            "3 instances stay as they were made, with another engines, flavor; "
            "to have others in their place: cncp scale 0 --pool memory, then cncp up"
        ) in up(other)
    other.release(list(states(other)), print)
    assert not [line for line in up(other) if "stay" in line]
