"""The owner's side: serials that only grow, renewals when they are due, what a revocation leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.rendezvous import owner
from cncp.rendezvous.documents import Access, Body, Seed
from cncp.rendezvous.owner import LEASE, Place
from cncp.rendezvous.publishing import (
    bundle_key,
    drop_bundles,
    forget,
    join_key,
    lease_key,
    new_batch,
    publish_bundle,
    publish_join,
    publish_lease,
    renew,
    renounce,
    withdraw,
)
from cncp.rendezvous.sealing import opened
from cncp.rendezvous.stores.memory import MemoryStore

from .cluster import IPYPARALLEL, NOW, OFFER, rotated


class Home:
    """A controller's home and its store, with a clock of their own."""

    def __init__(self, path: Path, store: MemoryStore | None = None) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.now = NOW
        self.store = store or MemoryStore(lambda: self.now)
        with owner.held(path, "a test"):
            owner.begin(path, Place())

    @property
    def record(self) -> owner.Record:
        """What is kept."""
        found = owner.load(self.path)
        assert found is not None
        return found

    def invite(self, lifetime: int = 3600) -> Seed:
        """Invite a batch."""
        return publish_join(self.store, self.path, OFFER, new_batch(), lifetime=lifetime, settings={}, now=self.now)

    def revoke(self) -> None:
        """Shut out all."""
        for key in renounce(self.path):
            self.store.delete(key)

    def join(self, seed: Seed) -> Body:
        """Open what lies there for a batch."""
        content = self.store.objects[join_key(seed.cluster, seed.batch)]
        return opened(
            content, "join", seed.batch, seed.key, cluster=seed.cluster, now=self.now, seen=0, ipyparallel=IPYPARALLEL
        )

    def lease(self, access: Access) -> Body:
        """Open the lease that a member follows."""
        answer = self.store.get_url(access.url)
        assert answer.verdict == "found", answer
        return opened(
            answer.body,
            "lease",
            str(access.generation),
            access.key,
            cluster=self.record.cluster,
            now=self.now,
            seen=0,
            ipyparallel=IPYPARALLEL,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A controller's home with a record."""
    return Home(tmp_path)


def test_who_joins_finds_a_lease(home: Home) -> None:
    """A join leads to the lease, which leads to itself for longer."""
    access = home.join(home.invite()).lease
    lease = home.lease(access)
    assert lease.want == "run"
    assert lease.content == OFFER
    assert home.lease(lease.lease).serial == lease.serial


def test_serials_only_grow(home: Home) -> None:
    """Over joins, leases and generations."""
    serials = [home.join(home.invite()).serial]
    for _ in range(3):
        serials.append(publish_lease(home.store, home.path, OFFER, now=home.now).serial)
        serials.append(home.join(home.invite()).serial)
    home.revoke()
    serials.append(publish_lease(home.store, home.path, OFFER, now=home.now).serial)
    assert serials == sorted(set(serials))


def test_what_is_due(home: Home) -> None:
    """Nothing is written while nothing has changed; a third of a lease's time later it is renewed."""
    access = home.join(home.invite()).lease
    assert not renew(home.store, home.path, OFFER, home.now)
    home.now += LEASE / 3 + 1
    assert renew(home.store, home.path, OFFER, home.now)
    chain = home.lease(access).lease
    for _ in range(9):
        home.now += LEASE / 3 + 1
        renew(home.store, home.path, OFFER, home.now)
        chain = home.lease(chain).lease
    assert home.store.get_url(access.url).verdict == "expired"


def test_new_keys_reach_members_and_those_who_are_invited(home: Home) -> None:
    """A seed that was given away before a rotation joins the cluster as it is after that."""
    seed = home.invite()
    before = home.join(seed)
    assert renew(home.store, home.path, rotated(), home.now)
    after = home.join(seed)
    assert after.serial > before.serial
    assert after.content.engine["key"] == rotated().engine["key"]
    assert home.lease(before.lease).content.fingerprint == rotated().fingerprint


def test_invitations_end(home: Home) -> None:
    """By themselves when their time is over, at once when they are withdrawn."""
    first, second = home.invite(600), home.invite()
    withdraw(home.store, home.path, [second.batch])
    assert home.store.get_url(second.join).verdict == "not yet"
    home.now += 601
    assert home.store.get_url(first.join).verdict == "expired"
    assert renew(home.store, home.path, OFFER, home.now)
    assert home.record.invitations == {}
    assert [key for key in home.store.objects if "/joins/" in key] == []


def test_a_retry_makes_the_same_seed(home: Home) -> None:
    """Whoever was cut off asks again with the same batch, and machines made before that join, too."""
    seed = home.invite()
    again = publish_join(home.store, home.path, OFFER, seed.batch, lifetime=3600, settings={}, now=home.now)
    assert again == seed


def test_a_revocation_shuts_out(home: Home) -> None:
    """Members, seeds, and whoever has kept the key of a lease."""
    seed = home.invite()
    access = home.join(seed).lease
    home.revoke()
    assert home.store.get_url(access.url).verdict == home.store.get_url(seed.join).verdict == "not yet"
    publish_lease(home.store, home.path, rotated(), now=home.now)
    assert home.store.get_url(access.url).verdict == "not yet"
    assert home.record.lease_key != access.key
    assert home.join(home.invite()).lease.generation == 2


def test_two_clusters_share_a_store(tmp_path: Path) -> None:
    """Neither reads, lists or removes anything of the other."""
    store = MemoryStore(lambda: NOW)
    gold, silver = Home(tmp_path / "gold", store), Home(tmp_path / "silver", store)
    seeds = gold.invite(), silver.invite()
    assert gold.record.cluster != silver.record.cluster
    forget(store, gold.path)
    assert silver.join(seeds[1]).content == OFFER
    assert all(silver.record.cluster in key for key in store.objects)


def test_code_stays_as_long_as_it_is_needed(home: Home, tmp_path: Path) -> None:
    """For those who are invited, and a day more; then the owner's service takes it away."""
    path = tmp_path / "code.tar"
    path.write_bytes(b"code")
    said: list[str] = []
    publish = partial(publish_bundle, home.store, home.path, path, "a" * 64, say=said.append, now=NOW)
    url = publish(lifetime=3600)
    assert publish(lifetime=600) == url.replace(str(int(NOW + 3600)), str(int(NOW + 600)))
    assert said == ["putting 0 MB of code into the store"]
    key = bundle_key(home.record.cluster, "a" * 64)
    seed = publish_join(
        home.store, home.path, OFFER, new_batch(), lifetime=7200, settings={}, bundle=url, sha256="a" * 64, now=home.now
    )
    assert home.record.bundles == {"a" * 64: seed.deadline}
    home.now = seed.deadline + 86399
    renew(home.store, home.path, OFFER, home.now)
    assert home.store.has(key)
    home.now += 2
    assert renew(home.store, home.path, OFFER, home.now)
    assert not home.store.has(key)
    assert home.record.bundles == {}
    assert not renew(home.store, home.path, OFFER, home.now)


def test_code_goes_with_the_last_instance(home: Home, tmp_path: Path) -> None:
    """Whatever its time; where nothing is left nothing is done."""
    path = tmp_path / "code.tar"
    path.write_bytes(b"code")
    publish_bundle(home.store, home.path, path, "a" * 64, 3600, print)
    assert drop_bundles(home.store, home.path)
    assert not drop_bundles(home.store, home.path)
    assert home.store.objects == {}


def test_nothing_is_left(home: Home, tmp_path: Path) -> None:
    """Also of what a list does not have yet: Swift's lag behind."""
    path = tmp_path / "code.tar"
    path.write_bytes(b"code")
    home.invite()
    home.revoke()
    home.invite()
    publish_lease(home.store, home.path, OFFER, now=home.now)
    publish_bundle(home.store, home.path, path, "a" * 64, 3600, print)
    home.store.put(join_key(home.record.cluster, new_batch()), b"of a command that was cut off")
    listed = home.store.keys
    home.store.keys = lambda prefix: [key for key in listed(prefix) if "off" in str(home.store.get(key))]  # type: ignore[method-assign]
    forget(home.store, home.path)
    assert home.store.objects == {}
    assert owner.load(home.path) is None


def test_another_place(home: Home) -> None:
    """A store that is left is remembered until everything is taken away; other credentials are no other store."""
    first, second = Place("s3://one"), Place("s3://two")
    with owner.held(home.path, "a test"):
        for place in (first, replace(first, options={"credentials": "x"}), second, second):
            owner.begin(home.path, place)
        assert list(home.record.former) == ["s3://one"]
        owner.begin(home.path, first)
    assert list(home.record.former) == ["s3://two"]


def test_a_copied_home_is_refused(home: Home, tmp_path: Path) -> None:
    """Two installations that took themselves for one would send members back and forth."""
    home.invite()
    record = json.loads(owner.path(home.path).read_text())
    other = Home(tmp_path / "copy", home.store)
    owner.path(other.path).write_text(json.dumps({**record, "lease_key": other.record.lease_key, "serial": 0}))
    with pytest.raises(CncpError, match="another owner's"):
        publish_lease(home.store, other.path, OFFER, now=NOW)


def test_a_store_that_fails_is_asked_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is due again, and its serial is not used twice."""

    def refuse(key: str, content: bytes, lifetime: int) -> None:
        raise CncpError(f"no {key} of {len(content)} bytes for {lifetime} s", "")

    home.invite()
    with monkeypatch.context() as patch:
        patch.setattr(home.store, "put", refuse)
        with pytest.raises(CncpError):
            renew(home.store, home.path, rotated(), home.now)
    serial = home.record.serial
    assert renew(home.store, home.path, rotated(), home.now)
    assert home.record.serial > serial


@pytest.mark.parametrize("lifetime", [0, -1, 599, 86401, 10**9])
def test_lifetimes(home: Home, lifetime: int) -> None:
    """Ten minutes to a day, and the record stays as it was."""
    before = home.record
    with pytest.raises(UsageError):
        home.invite(lifetime)
    assert home.record == before


@pytest.mark.parametrize(
    "act",
    [
        lambda home: publish_lease(home.store, home.path, OFFER),
        lambda home: renew(home.store, home.path, OFFER),
        lambda home: renounce(home.path),
        lambda home: home.invite(),
    ],
)
@pytest.mark.parametrize("content", ["", "{}", '{"cluster": 1}', "[]"])
def test_a_damaged_record(home: Home, act: Callable[[Home], object], content: str) -> None:
    """Is said to be, with what to do, and nothing is written over it."""
    owner.path(home.path).write_text(content)
    with pytest.raises(CncpError, match="is damaged"):
        act(home)
    assert owner.path(home.path).read_text() == content


def test_the_record_is_ours_alone(home: Home) -> None:
    """It has the keys of all that is sealed."""
    home.invite()
    assert owner.path(home.path).stat().st_mode & 0o777 == 0o600
    assert owner.folder(home.path).stat().st_mode & 0o777 == 0o700
    assert lease_key(home.record.cluster, 1) in home.store.objects


def test_names_of_batches() -> None:
    """They are of 16 hexadecimal digits, and another each time."""
    found = {new_batch() for _ in range(50)}
    assert len(found) == 50
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in found)
