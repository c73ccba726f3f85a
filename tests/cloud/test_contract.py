"""What every cloud does the same, whoever it is: one in memory, EC2 as moto has it, OpenStack as its references say."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError
from cncp.pools.cloud.ec2 import Ec2
from cncp.pools.cloud.journal import Journal
from cncp.pools.cloud.launch import Boot, Launcher, Wish
from cncp.pools.cloud.openstack import OpenStack
from cncp.pools.cloud.provider import BATCH, CLUSTER, EXPIRES, OWNER, PRICE, Order, Provider, Template
from cncp.pools.cloud.reclaim import census, close
from cncp.rendezvous.publishing import new_batch

from ..unit.pools.memory_cloud import Hands, Memory
from .stub_openstack import Stub

CLUSTER_ID, OTHER = "0f3a9c1e55aa7b20", "ffffffffffffffff"
USER_DATA = "#!/bin/sh\n# ü\nexit 0\n"


@dataclass
class Subject:
    """A cloud under test: how it is made, with other settings too, and what it was given for an instance."""

    make: Callable[[Template], Provider]
    template: Template
    given: Callable[[str], str]
    strict: bool = True

    @property
    def provider(self) -> Provider:
        """The cloud."""
        return self.make(self.template)


def _memory() -> Subject:
    memory = Memory(boots=0.0, dies=0.0)
    return Subject(lambda _: memory, Template(), lambda _: memory.orders[0].user_data, strict=False)


def _ec2() -> Subject:
    import boto3

    client = boto3.client("ec2")
    image = client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]

    def given(name: str) -> str:
        found = client.describe_instance_attribute(InstanceId=name, Attribute="userData")
        return base64.b64decode(found["UserData"]["Value"]).decode()

    return Subject(lambda template: Ec2({"provider": "ec2"}, template), Template(image, "t3.micro"), given)


def _openstack(stub: Stub) -> Subject:
    def given(name: str) -> str:
        return base64.b64decode(stub.servers[name]["user_data"]).decode()

    site = {"provider": "openstack", "cloud": "lab"}
    return Subject(lambda template: OpenStack(site, template), Template("debian-12", "m1.small"), given)


@pytest.fixture(params=["memory", "ec2", "openstack"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each cloud in turn."""
    if request.param == "memory":
        return _memory()
    fixture: Any = request.getfixturevalue(request.param)
    return _ec2() if request.param == "ec2" else _openstack(fixture)


def order(count: int, cluster: str = CLUSTER_ID) -> Order:
    """Return a call for so many."""
    batch = new_batch()
    tags = {CLUSTER: cluster, BATCH: batch, OWNER: "ada@gold", EXPIRES: "1800000000", PRICE: "0.25"}
    return Order(batch, count, USER_DATA, tags, token=batch)


def test_made_found_and_ended(subject: Subject) -> None:
    """Instances have our tags and are found by these; they are ended by id, others are left, and once is enough."""
    provider = subject.provider
    provider.check()
    wanted, others = order(3), order(1, OTHER)
    made, other = provider.create(wanted), provider.create(others)
    assert len({instance.id for instance in made}) == 3
    assert len({instance.name for instance in made}) == 3
    found = provider.instances({CLUSTER: CLUSTER_ID})
    assert {instance.id for instance in found} == {instance.id for instance in made}
    assert {instance.id for instance in provider.instances({BATCH: wanted.batch})} == {instance.id for instance in made}
    assert len(provider.instances({OWNER: "ada@gold"})) == 4
    assert provider.instances({CLUSTER: CLUSTER_ID, OWNER: "bob@gold"}) == []
    for instance in found:
        assert instance.state in ("requested", "running")
        assert instance.costs
        assert wanted.tags.items() <= instance.tags.items()
        assert instance.address
        assert instance.flavor
        assert instance.since > 1.7e9
    assert subject.given(made[0].id) == USER_DATA
    assert isinstance(provider.console(made[0].id), str)
    provider.delete([instance.id for instance in made])
    assert [instance for instance in provider.instances({CLUSTER: CLUSTER_ID}) if instance.costs] == []
    provider.delete([instance.id for instance in made])
    assert [instance.id for instance in provider.instances({CLUSTER: OTHER}) if instance.costs] == [other[0].id]


def test_what_is_not_there_is_no_error(subject: Subject) -> None:
    """One that was never there does not keep the others from being ended, and has no console."""
    provider = subject.provider
    [made] = provider.create(order(1))
    stranger = "i-0123456789abcdef0" if made.id.startswith("i-") else "00000000-0000-4000-8000-000000000000"
    provider.delete([stranger, made.id])
    assert [instance for instance in provider.instances({CLUSTER: CLUSTER_ID}) if instance.costs] == []
    assert provider.console(stranger) == ""


def test_nothing_is_left(subject: Subject) -> None:
    """What is made besides instances goes after them; a cluster of which nothing is left is tidy."""
    provider = subject.provider
    assert provider.tidy(CLUSTER_ID)
    made = provider.create(order(2))
    provider.delete([instance.id for instance in made])
    assert provider.tidy(CLUSTER_ID)
    assert provider.tidy(CLUSTER_ID)


@pytest.mark.parametrize("wrong", ["image", "flavor"])
def test_what_the_cloud_does_not_have(subject: Subject, wrong: str) -> None:
    """An image or flavor that is not there is told before anything is made, with a hint."""
    if not subject.strict:
        pytest.skip("it has no images")
    with pytest.raises(CncpError, match="none") as caught:
        subject.make(Template(**{**vars(subject.template), wrong: "none"})).check()
    assert caught.value.hint


def test_a_whole_life(subject: Subject, tmp_path: Path) -> None:
    """Made by the launcher, counted by the census, and ended with nothing left, in any cloud."""
    provider, journal, clock = subject.provider, Journal.of(tmp_path, CLUSTER_ID, "ada@gold"), Hands()
    if isinstance(provider, Memory):
        clock = provider.clock
    wish = Wish("pool", "no", 0.5, lambda: Boot(new_batch(), USER_DATA, clock.now() + 600))
    made = Launcher(provider, journal, wish, clock, print).bring(22)
    assert len(made) == len(census(provider, journal, clock)) == 22
    assert [batch.stage for batch in journal.batches] == ["RUNNING", "RUNNING"]
    assert {instance.price for instance in made if instance.price != 0.1} <= {0.5}
    sites = []

    def connect(site: Any) -> Provider:
        sites.append(dict(site))
        return provider

    close(journal, "", connect, clock, print)
    assert sites == [dict(provider.site)]
    assert [instance for instance in provider.instances({CLUSTER: CLUSTER_ID}) if instance.costs] == []
    assert journal.open() == []
    assert journal.sites == ()


def test_servers_that_are_made_and_not_listed(openstack: Stub, tmp_path: Path) -> None:
    """Where nova makes them, and then wants no more calls, they are not made a second time."""
    subject = _openstack(openstack)
    provider, journal, clock = subject.provider, Journal.of(tmp_path, CLUSTER_ID, "ada@gold"), Hands()
    openstack.limited = 1
    wish = Wish("pool", "no", None, lambda: Boot(new_batch(), USER_DATA, clock.now() + 600))
    assert len(Launcher(provider, journal, wish, clock, print).bring(3)) == 3
    assert len(openstack.servers) == 3
    assert journal.ids == openstack.servers.keys()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Have no proxy of the surroundings between us and loopback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield
