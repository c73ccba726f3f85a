"""The contracts of clouds and stores, held against a real OpenStack: keystone, glance, nova, Swift of Debian."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openstack as sdk
import pytest

from cncp.errors import CncpError, UsageError
from cncp.install.bundle_reader import sha256
from cncp.pools.cloud import cloud_disk
from cncp.pools.cloud.images import IMAGE, PROFILE, bring
from cncp.pools.cloud.journal import Journal
from cncp.pools.cloud.launch import Boot, Launcher, Wish
from cncp.pools.cloud.openstack import OpenStack
from cncp.pools.cloud.openstack_images import OpenStackImages
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import BATCH, CLUSTER, OWNER, QuotaExceeded, Template
from cncp.pools.cloud.reclaim import census, close
from cncp.rendezvous import owner, sealing
from cncp.rendezvous.fetching import fetch
from cncp.rendezvous.owner import Place
from cncp.rendezvous.places import opened
from cncp.rendezvous.publishing import forget, new_batch, publish_bundle, publish_join, publish_lease
from cncp.rendezvous.store import Store
from cncp.waiting import wait_until

from ..cloud.test_contract import CLUSTER_ID, OTHER, USER_DATA, order
from ..install.test_stores import (
    KEY,
    Kind,
    test_create_only,
    test_keys,
    test_lifetimes,
    test_objects,
    test_swift_takes_objects_away,
    test_swift_urls,
    test_urls,
)
from ..unit.rendezvous.cluster import IPYPARALLEL, OFFER
from . import openstack
from .host import Host
from .nspawn import Lab
from .site import until

__all__ = [
    "test_create_only",
    "test_keys",
    "test_lifetimes",
    "test_objects",
    "test_swift_takes_objects_away",
    "test_swift_urls",
    "test_urls",
]
"""What every store holds is held here by Swift."""

# nova's server closes connections now and then that are kept open.
ASK = Clock().asked

TINY = Template("debian-12", "tiny", network="none")

pytestmark = [pytest.mark.slow(held="tests/cloud/test_contract.py"), pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def stack(lab: Lab) -> Iterator[Host]:
    """Boot an OpenStack."""
    host = openstack.boot(lab)
    yield host
    lab.remove(host)


def auth_url(stack: Host) -> str:
    """Return where its keystone is."""
    return f"http://{stack.address}:5000/v3"


@pytest.fixture
def login(stack: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Say in a clouds.yaml how to get in, as who owns the project and as a guest; JSON is YAML."""
    there = {"project_domain_name": "Default", "auth_url": auth_url(stack)}
    known = {
        name: {"auth": {**account, **there}, "region_name": "RegionOne"}
        for name, account in (("lab", openstack.LOGIN), ("guest", openstack.GUEST))
    }
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": known}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    monkeypatch.setenv("NO_PROXY", "*")
    return file


def gone(cloud: OpenStack) -> None:
    """Delete all of ours, and wait until they are gone."""
    ASK(lambda: cloud.delete([server.id for server in cloud.instances({})]))
    until(lambda: not ASK(lambda: cloud.instances({})), 60, "servers to be gone")


@pytest.fixture
def site(login: Path) -> dict[str, str]:
    """The cloud without servers of ours."""
    found = {"provider": "openstack", "cloud": "lab"}
    gone(OpenStack(found, TINY))
    return found


def test_made_found_and_ended(site: dict[str, str]) -> None:
    """Servers have our tags and user-data, become running, and are ended by id; others are left."""
    cloud = OpenStack(site, TINY)
    ASK(cloud.check)
    wanted = order(3)
    made, other = cloud.create(wanted), cloud.create(order(1, OTHER))
    assert len({server.id for server in made}) == len({server.name for server in made}) == 3
    until(
        lambda: {server.state for server in ASK(lambda: cloud.instances({CLUSTER: CLUSTER_ID}))} == {"running"},
        60,
        "them to run",
    )
    assert {server.id for server in ASK(lambda: cloud.instances({BATCH: wanted.batch}))} == {
        server.id for server in made
    }
    server: Any = cloud._cloud.compute.get_server(made[0].id)
    assert base64.b64decode(server.user_data).decode() == USER_DATA
    assert isinstance(cloud.console(made[0].id), str)
    ASK(lambda: cloud.delete([server.id for server in made]))
    ASK(lambda: cloud.delete([made[0].id, "00000000-0000-4000-8000-000000000000"]))
    until(lambda: not ASK(lambda: cloud.instances({CLUSTER: CLUSTER_ID})), 60, "three to be gone")
    assert [server.id for server in ASK(lambda: cloud.instances({}))] == [other[0].id]


def test_the_quota(site: dict[str, str]) -> None:
    """It is told in numbers before anything is made, and by nova itself where it is not asked."""
    cloud = OpenStack(site, TINY)
    limits = ASK(cloud.limits)
    assert limits.room == 10
    with pytest.raises(QuotaExceeded, match="has room for 10 of 40 more instances: they need 40 instances where 10"):
        limits.insist(40, cloud.where)
    assert len(cloud.create(order(12))) == 10
    # Those that are being made are not counted yet.
    until(lambda: {server.state for server in ASK(lambda: cloud.instances({}))} == {"running"}, 90, "them to run")
    with pytest.raises(QuotaExceeded, match="Quota exceeded"):
        cloud.create(order(1))


def test_no_host_for_them(site: dict[str, str], tmp_path: Path) -> None:
    """Servers that find no host fail later, with nova's reason, and are deleted again."""
    cloud = OpenStack(site, Template("debian-12", "huge", network="none"))
    journal, clock = Journal.of(tmp_path, CLUSTER_ID, "ada@gold"), Clock()
    wish = Wish("pool", "no", None, lambda: Boot(new_batch(), USER_DATA, clock.now() + 600))
    with pytest.raises(CncpError, match="No valid host was found"):
        Launcher(cloud, journal, wish, clock, print).bring(2)
    assert census(cloud, journal, clock) == {}
    assert journal.open() == []


def test_a_whole_life(site: dict[str, str], tmp_path: Path) -> None:
    """Made by the launcher, and ended with nothing left."""
    cloud, journal, clock = OpenStack(site, TINY), Journal.of(tmp_path, CLUSTER_ID, "ada@gold"), Clock()
    wish = Wish("pool", "no", 0.5, lambda: Boot(new_batch(), USER_DATA, clock.now() + 600))
    made = Launcher(cloud, journal, wish, clock, print).bring(4)
    assert {server.price for server in made} == {0.5}
    assert [batch.stage for batch in journal.batches] == ["RUNNING"]
    close(journal, "", lambda _: cloud, clock, print)
    assert ASK(lambda: cloud.instances({})) == []
    assert journal.open() == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"image": "none"}, "has no image 'none'"),
        ({"flavor": "none"}, "has no flavor 'none'"),
    ],
)
def test_what_is_not_there(site: dict[str, str], wrong: dict[str, Any], told: str) -> None:
    """It is told before anything is made."""
    with pytest.raises(UsageError, match=told):
        OpenStack(site, Template(**{**vars(TINY), **wrong})).check()


def test_an_image(site: dict[str, str], tmp_path: Path) -> None:
    """Glance takes it, once, with its own sum compared; what an upload has left is taken away, and so is the image."""
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(40 << 20))
    disk, cloud, said = cloud_disk.read(path), OpenStackImages(site), list[str]()
    tags = {OWNER: "ada@gold/00000000", PROFILE: "griffin"}
    # A command that was killed has made the record, and sent nothing of its data.
    half = cloud._cloud.image.create_image(
        "cncp-half", disk_format="raw", container_format="bare", tags=["cncp"], meta={**tags, IMAGE: disk.digest}
    )
    made, new = bring(cloud, tmp_path, disk, tags, Clock(), said.append)
    assert new
    assert said[0] == f"taking away what an upload has left: {half.id}"
    assert said[-1] == "100 % of 42 MB"
    there: Any = cloud._cloud.image.get_image(made.id)
    assert (there.size, there.visibility, there.min_disk) == (disk.size, "private", 1)
    assert bring(cloud, tmp_path, disk, tags, Clock(), said.append) == (made, False)
    OpenStack(site, Template(made.id, "tiny", network="none")).check()
    cloud.drop(made)
    cloud.drop(made)
    assert cloud.images(tags) == []


def test_a_wrong_password(site: dict[str, str], login: Path) -> None:
    """Who is not let in is told so."""
    login.write_text(login.read_text().replace('"adm"', '"wrong"'))
    with pytest.raises(CncpError) as caught:
        OpenStack(site, TINY).check()
    assert "lab" in caught.value.message
    assert caught.value.hint


# Swift ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(stack: Host) -> Any:
    """Swift's own, as the owner has it, with the containers lab, which has no key yet, and open, which is public."""
    auth = {**openstack.LOGIN, "project_domain_name": "Default", "auth_url": auth_url(stack)}
    found: Any = sdk.connect(auth=auth, region_name="RegionOne", load_envvars=False).object_store
    for name, headers in (("lab", {}), ("open", {"X-Container-Read": ".r:*"})):
        assert found.put(f"/{name}", headers=headers).status_code == 201
    return found


@pytest.fixture
def swift(api: Any, login: Path) -> Any:
    """The same, where clouds.yaml is."""
    return api


@pytest.fixture
def swift_store(swift: Any) -> Store:
    """The store in a container of it."""
    return opened("swift://lab/cncp", {"cloud": "lab"})


@pytest.fixture
def kind(swift: Any, tmp_path: Path) -> Kind:
    """The store below an empty prefix."""
    return Kind(opened(f"swift://lab/{tmp_path.name.replace('_', '-')}".lower(), {"cloud": "lab"}))


def test_keys_of_containers(swift: Any) -> None:
    """Made where there is none, and served at once; a second owner, and one with a key of its own, find theirs."""
    name = f"c-{new_batch()}"
    assert swift.put(f"/{name}").status_code == 201
    first = opened(f"swift://{name}", {"cloud": "lab"})
    first.put(KEY, b"one")
    made = swift.head(f"/{name}").headers["X-Container-Meta-Temp-Url-Key"]
    second = opened(f"swift://{name}", {"cloud": "lab"})
    assert {fetch(store.url(KEY, 60)).body for store in (first, second)} == {b"one"}
    assert swift.head(f"/{name}").headers["X-Container-Meta-Temp-Url-Key"] == made
    own = {"X-Container-Meta-Temp-URL-Key": "", "X-Container-Meta-Temp-URL-Key-2": "somebody's"}
    assert swift.post(f"/{name}", headers=own).status_code == 204
    third = opened(f"swift://{name}", {"cloud": "lab"})
    assert fetch(third.url(KEY, 60)).body == b"one"
    assert "X-Container-Meta-Temp-Url-Key" not in swift.head(f"/{name}").headers


def test_urls_of_the_library_are_refused(swift: Any, swift_store: Store) -> None:
    """Why they are signed here: openstacksdk's SHA-1 is not taken by newer ones, nor where it is switched off."""
    swift_store.put(KEY, b"one")
    url = urlsplit(swift_store.url(KEY, 600))
    key = swift.head("/lab").headers["X-Container-Meta-Temp-Url-Key"]
    theirs = swift.generate_temp_url(url.path, 600, "GET", temp_url_key=key)
    assert fetch(f"http://{url.netloc}{theirs}").why == "HTTP 401"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("swift://none", {"cloud": "lab"}, "there is no such container"),
        ("swift://open", {"cloud": "lab"}, "is public"),
        ("swift://lab", {"cloud": "guest"}, "may not .*: HTTP 403"),
        ("swift://lab", {"cloud": "else"}, "else"),
        ("swift://lab", {"cloud": "lab", "region": "RegionTwo"}, "RegionTwo is not a valid region"),
    ],
)
def test_no_store_for_us(swift: Any, url: str, options: dict[str, str], said: str) -> None:
    """Told in two lines before anything is written."""
    with pytest.raises(CncpError, match=said) as refused:
        opened(url, options)
    assert refused.value.hint


def test_swift_that_cannot_find_its_keys(stack: Host, swift_store: Store) -> None:
    """While its container servers are gone good URLs are refused as bad ones are, and members ask again."""
    swift_store.put(KEY, b"one")
    url = swift_store.url(KEY, 600)
    assert fetch(url).body == b"one"
    stack.exec(["systemctl", "kill", "--signal=STOP", "swift-container-lab"])
    stack.exec(["systemctl", "restart", "memcached"])
    try:
        answer = fetch(url, timeout=60)
    finally:
        stack.exec(["systemctl", "kill", "--signal=CONT", "swift-container-lab"])
    print(answer)
    assert answer.verdict == "not yet", answer
    assert wait_until(lambda: fetch(url), 90, 1.0, lambda seen: seen.verdict == "found").body == b"one"


def test_a_rendezvous(swift_store: Store, tmp_path: Path) -> None:
    """Joins, leases, serials, code: members have GETs alone, and nothing is left in the end."""
    code = tmp_path / "code.tar"
    code.write_bytes(b"code" * 1000)
    with owner.held(tmp_path, "a test"):
        owner.begin(tmp_path, Place("swift://lab/cncp", {"cloud": "lab"}))
    bundle = publish_bundle(swift_store, tmp_path, code, sha256(code), 3600, print)
    seed = publish_join(
        swift_store, tmp_path, OFFER, new_batch(), lifetime=3600, settings={}, bundle=bundle, sha256=sha256(code)
    )
    serials = []
    for _ in range(3):
        join = fetch(seed.join)
        words: Any = {"cluster": seed.cluster, "now": time.time(), "seen": 0, "ipyparallel": IPYPARALLEL}
        body = sealing.opened(join.body, "join", seed.batch, seed.key, **words)
        lease = sealing.opened(fetch(body.lease.url).body, "lease", "1", body.lease.key, **words)
        serials.append(lease.serial)
        publish_lease(swift_store, tmp_path, OFFER)
    assert serials == sorted(set(serials))
    assert fetch(bundle).body == code.read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(seed.join, data=b"evil", method="PUT"), timeout=30)
    forget(swift_store, tmp_path)
    assert fetch(seed.join).why == fetch(bundle).why == "HTTP 404"
    assert wait_until(lambda: not swift_store.keys(f"cncp/v1/{seed.cluster}/"), 30)
