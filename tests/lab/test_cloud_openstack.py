"""The contract of clouds, held against a real OpenStack: keystone, glance, placement and nova of Debian."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError, UsageError
from cncp.pools.cloud import cloud_disk
from cncp.pools.cloud.images import IMAGE, PROFILE, bring
from cncp.pools.cloud.journal import Journal
from cncp.pools.cloud.launch import Boot, Launcher, Wish
from cncp.pools.cloud.openstack import OpenStack
from cncp.pools.cloud.openstack_images import OpenStackImages
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import BATCH, CLUSTER, OWNER, QuotaExceeded, Template
from cncp.pools.cloud.reclaim import census, close
from cncp.rendezvous.publishing import new_batch

from ..cloud.test_contract import CLUSTER_ID, OTHER, USER_DATA, order
from . import openstack
from .nspawn import Lab
from .site import until

# nova's server closes connections now and then that are kept open.
ASK = Clock().asked

TINY = Template("debian-12", "tiny", network="none")

pytestmark = [pytest.mark.slow(held="tests/cloud/test_contract.py"), pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def endpoint(lab: Lab) -> Iterator[str]:
    """Boot an OpenStack; give where its keystone is."""
    host = openstack.boot(lab)
    yield f"http://{host.address}:5000/v3"
    lab.remove(host)


def gone(cloud: OpenStack) -> None:
    """Delete all of ours, and wait until they are gone."""
    ASK(lambda: cloud.delete([server.id for server in cloud.instances({})]))
    until(lambda: not ASK(lambda: cloud.instances({})), 60, "servers to be gone")


@pytest.fixture
def site(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Say in a clouds.yaml how to get in."""
    login = {**openstack.LOGIN, "project_domain_name": "Default", "auth_url": endpoint}
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"lab": {"auth": login, "region_name": "RegionOne"}}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    monkeypatch.setenv("NO_PROXY", "*")
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


def test_a_wrong_password(site: dict[str, str], tmp_path: Path) -> None:
    """Who is not let in is told so."""
    file = tmp_path / "clouds.yaml"
    file.write_text(file.read_text().replace('"adm"', '"wrong"'))
    with pytest.raises(CncpError) as caught:
        OpenStack(site, TINY).check()
    assert "lab" in caught.value.message
    assert caught.value.hint
