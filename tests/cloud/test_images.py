"""Uploads to every cloud: EC2 as moto has it, OpenStack as its references say; and what each of them refuses."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from cncp.errors import CncpError
from cncp.pools.cloud import cloud_disk, ec2_images
from cncp.pools.cloud.cloud_disk import Disk
from cncp.pools.cloud.ec2_images import Ec2Images
from cncp.pools.cloud.images import CODE, IMAGE, PROFILE, Images, begun, bring
from cncp.pools.cloud.openstack_images import OpenStackImages
from cncp.pools.cloud.provider import OWNER, QuotaExceeded, Throttled, Unsure

from ..unit.pools.memory_cloud import Hands
from .stub_openstack import Stub

OURS = {OWNER: "ada@gold/00000000", PROFILE: "griffin", CODE: "c" * 64}
ROOT = Path(__file__).resolve().parents[2]
MINE = {OWNER: OURS[OWNER]}
BLOCK = 512 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk of 10 blocks and a bit, most of them empty."""
    content = bytearray(10 * BLOCK + 1024)
    content[510:512] = b"\x55\xaa"
    content[3 * BLOCK : 3 * BLOCK + 4] = b"data"
    content[-1:] = b"x"
    path = tmp_path / "disk.raw"
    path.write_bytes(content)
    return cloud_disk.read(path)


@pytest.fixture(params=["ec2", "openstack"])
def cloud(request: pytest.FixtureRequest) -> Images:
    """Each cloud in turn."""
    request.getfixturevalue(request.param)
    if request.param == "ec2":
        return Ec2Images({"provider": "ec2"})
    return OpenStackImages({"provider": "openstack", "cloud": "lab"})


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Have no proxy of the surroundings between us and loopback."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


def test_uploaded_found_and_taken_away(cloud: Images, disk: Disk, tmp_path: Path) -> None:
    """Once, with our tags; strangers' are not seen; taken away it is gone, and that twice is no error."""
    said: list[str] = []
    made, new = bring(cloud, tmp_path, disk, OURS, Hands(), said.append)
    assert (made.state, new) == ("ready", True)
    assert said[-1] == f"100 % of {disk.size / 1e6:.0f} MB"
    assert bring(cloud, tmp_path, disk, OURS, Hands(), said.append) == (made, False)
    [found] = cloud.images(MINE)
    assert found == made
    assert {**OURS, IMAGE: disk.digest}.items() <= found.tags.items()
    assert found.since > 1.7e9
    assert cloud.images({OWNER: "bob@gold"}) == []
    cloud.drop(made)
    cloud.drop(made)
    assert cloud.images(MINE) == []


def test_what_ec2_gets(ec2: str, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are not empty, whole, and an image whose instances have a network (packer#6268)."""
    import boto3

    cloud, asked = Ec2Images({"provider": "ec2"}), list[Any]()
    plain = cloud._makes.register_image

    def register(**words: Any) -> Any:
        asked.append(words)
        return plain(**words)

    monkeypatch.setattr(cloud._makes, "register_image", register)
    made, _ = bring(cloud, tmp_path, disk, OURS, Hands(), print)
    client = boto3.client("ec2")
    [words] = asked
    [mapping] = words["BlockDeviceMappings"]
    assert (words["EnaSupport"], words["RootDeviceName"]) == (True, mapping["DeviceName"])
    assert mapping["Ebs"]["DeleteOnTermination"]
    assert not client.describe_images(ImageIds=[made.id])["Images"][0]["Public"]
    snapshot = mapping["Ebs"]["SnapshotId"]
    blocks = boto3.client("ebs")
    listed = blocks.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    assert {block["BlockIndex"] for block in listed} == {0, 3, 10}
    content = disk.path.read_bytes().ljust(11 * BLOCK, b"\0")
    for block in listed:
        got = blocks.get_snapshot_block(SnapshotId=snapshot, BlockIndex=block["BlockIndex"], BlockToken="t")
        wanted = content[block["BlockIndex"] * BLOCK :][:BLOCK]
        assert got["BlockData"].read() == wanted
        assert got["Checksum"] == base64.b64encode(hashlib.sha256(wanted).digest()).decode()
    cloud.drop(made)
    left = client.describe_snapshots(Filters=[{"Name": "snapshot-id", "Values": [snapshot]}])
    assert left["Snapshots"] == []


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="there is no qemu-img")
def test_a_qcow2_for_ec2(ec2: str, disk: Disk, tmp_path: Path) -> None:
    """It is unpacked beside itself, and nothing of that stays."""
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", disk.path, path], check=True)
    packed = cloud_disk.read(path)
    assert packed.room == disk.size
    cloud = Ec2Images({"provider": "ec2"})
    bring(cloud, tmp_path, packed, OURS, Hands(), print)
    assert sorted(os.listdir(tmp_path)) == ["cloud", "disk.qcow2", "disk.raw", "home"]


def test_without_qemu_img(ec2: str, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named before anything is made."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    cloud = Ec2Images({"provider": "ec2"})
    packed = Disk(disk.path, "qcow2", disk.size, disk.room, disk.sums)
    with pytest.raises(CncpError, match="no qemu-img") as caught:
        bring(cloud, tmp_path, packed, OURS, Hands(), print)
    assert "qemu-utils" in caught.value.hint
    assert cloud.images(MINE) == []


@pytest.mark.parametrize(
    ("code", "kind", "calls"),
    [
        ("AccessDeniedException", CncpError, 1),  # coldsnap#216 tried it twelve times
        ("ServiceQuotaExceededException", QuotaExceeded, 1),
        ("RequestThrottledException", Throttled, 2),
        ("ValidationException", CncpError, 1),
    ],
)
def test_ec2_refuses_a_block(
    ec2: str, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, kind: type[CncpError], calls: int
) -> None:
    """What will be no other the next time ends it at once, and the snapshot is gone."""
    monkeypatch.setattr(ec2_images, "_AT_ONCE", 1)
    cloud, clock = Ec2Images({"provider": "ec2"}), Hands()
    asked: list[float] = []

    def put(**_: Any) -> None:
        asked.append(clock.now())
        with Stubber(stubbed) as stub:
            stub.add_client_error("put_snapshot_block", code, "no", 400)
            stubbed.put_snapshot_block(
                SnapshotId="snap-0",
                BlockIndex=0,
                BlockData=b"",
                DataLength=BLOCK,
                Checksum="x",
                ChecksumAlgorithm="SHA256",
            )

    stubbed = cloud._client("ebs", 1)
    monkeypatch.setattr(cloud._blocks, "put_snapshot_block", put)
    with pytest.raises(CncpError) as caught:
        bring(cloud, tmp_path, disk, OURS, clock, print)
    assert type(caught.value) is kind
    assert (len(asked) > 1) == (calls > 1)
    assert caught.value.hint
    assert cloud.images(MINE) == []


def test_a_snapshot_that_is_not_known_yet(
    ec2: str, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EBS may not know for a minute what it has just begun (coldsnap#43); after two it never will."""
    cloud, clock = Ec2Images({"provider": "ec2"}), Hands()
    plain, begun = cloud._blocks.put_snapshot_block, clock.now()
    stubbed = cloud._client("ebs", 1)

    def put(**words: Any) -> Any:
        if clock.now() > begun + patience:
            return plain(**words)
        with Stubber(stubbed) as stub:
            stub.add_client_error(
                "put_snapshot_block", "ResourceNotFoundException", "The snapshot does not exist.", 404
            )
            return stubbed.put_snapshot_block(**words)

    monkeypatch.setattr(ec2_images, "_AT_ONCE", 1)
    monkeypatch.setattr(cloud._blocks, "put_snapshot_block", put)
    patience = 60.0
    made, _ = bring(cloud, tmp_path, disk, OURS, clock, print)
    cloud.drop(made)
    patience, begun = 1e9, clock.now()
    with pytest.raises(CncpError, match="does not exist"):
        bring(cloud, tmp_path, disk, OURS, clock, print)
    assert cloud.images(MINE) == []


def test_what_glance_gets(openstack: Stub, disk: Disk, tmp_path: Path) -> None:
    """The bytes of the file, in its format, as a private image with the room that it needs."""
    cloud = OpenStackImages({"provider": "openstack", "cloud": "lab"})
    made, _ = bring(cloud, tmp_path, disk, OURS, Hands(), print)
    kept = openstack.images[made.id]
    assert openstack.data[made.id] == disk.path.read_bytes()
    assert (kept["disk_format"], kept["container_format"], kept["visibility"]) == ("raw", "bare", "private")
    assert kept["min_disk"] == 1


GLANCE: Mapping[str, tuple[int, str, type[CncpError], str]] = {
    "quota": (413, "Denying attempt to upload image because it exceeds the quota: limit 10", QuotaExceeded, "quota"),
    "too large": (413, "Denying attempt to upload image larger than 10 bytes.", QuotaExceeded, "smaller"),
    "full": (413, "Image storage media is full: disk", QuotaExceeded, "smaller"),
    "too many": (413, "Resource image_count_total is over limit of 10", QuotaExceeded, "raised"),
    "calls": (429, "too many requests", Throttled, "wait"),
    "may not": (403, "You are not authorized to complete add_image action.", CncpError, "may"),
    "format": (415, "Image content does not match the specified format", CncpError, "change"),
    "broken": (503, "the store does not answer", Unsure, "again"),
}


@pytest.mark.parametrize("name", GLANCE)
def test_glance_refuses(openstack: Stub, disk: Disk, tmp_path: Path, name: str) -> None:
    """In its own words, with what to do, and the record that it had made is gone (ciao#1469 left it queued)."""
    status, told, kind, hint = GLANCE[name]
    cloud = OpenStackImages({"provider": "openstack", "cloud": "lab"})
    openstack.refuse_data = (status, told)
    with pytest.raises(CncpError) as caught:
        bring(cloud, tmp_path, disk, OURS, Hands(), print)
    assert type(caught.value) is kind
    assert told.split()[0] in caught.value.message
    assert hint in caught.value.hint
    assert openstack.images == {}


def test_a_token_that_runs_out(openstack: Stub, disk: Disk, tmp_path: Path) -> None:
    """With another one all of the file is sent again, and not what was left of it."""
    openstack.refuse_data = (401, "The request you have made requires authentication.")
    made, _ = bring(OpenStackImages({"provider": "openstack", "cloud": "lab"}), tmp_path, disk, OURS, Hands(), print)
    assert openstack.data[made.id] == disk.path.read_bytes()
    assert sum(line.startswith("PUT") for line in openstack.asked) == 2


def test_what_glance_got_is_another(openstack: Stub, disk: Disk, tmp_path: Path) -> None:
    """Its own sum tells, whichever kind it has; the image is taken away."""
    cloud = OpenStackImages({"provider": "openstack", "cloud": "lab"})
    for hashes in (True, False):
        openstack.cut_data, openstack.hashes = 1, hashes
        with pytest.raises(CncpError, match="has not got what was sent"):
            bring(cloud, tmp_path, disk, OURS, Hands(), print)
        assert openstack.images == {}
    openstack.cut_data = 0
    assert bring(cloud, tmp_path, disk, OURS, Hands(), print)[1]


UP = """
import os, signal, sys
from pathlib import Path
from botocore.httpsession import URLLib3Session
from cncp.pools.cloud import cloud_disk, images
from cncp.pools.cloud.ec2_images import Ec2Images
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import OWNER
disk = cloud_disk.read(Path(sys.argv[2]))
cloud = Ec2Images({"provider": "ec2"})
send, left, moment = URLLib3Session.send, int(sys.argv[4]), sys.argv[5]
def killed(self, request):
    global left
    left -= 1
    if left == 0 and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(self, request)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
URLLib3Session.send = killed
with images.locked(Path(sys.argv[1]), "cncp cloud.image"):
    images.bring(cloud, Path(sys.argv[1]), disk, {OWNER: sys.argv[3]}, Clock(), lambda _: None)
"""


def test_killed_before_and_after_calls(ec2: str, tmp_path: Path) -> None:
    """By SIGKILL, further on each time: in the end there is one image, of one snapshot, and nothing is noted."""
    import boto3

    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(510) + b"\x55\xaa" + random.Random(1).randbytes((4 << 20) - 512))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap"), "NO_PROXY": "127.0.0.1"}
    words = [sys.executable, "-c", UP, str(tmp_path), str(path), OURS[OWNER]]
    # Some ten calls make an image, and some more take away what is left of another.
    for number in (1, 2, 3, 5, 8, 13):
        for moment in ("before", "after"):
            done = subprocess.run([*words, str(number), moment], check=False, timeout=60, env=environment)
            assert done.returncode in ((-signal.SIGKILL,) if number < 8 else (-signal.SIGKILL, 0))
    subprocess.run([*words, "0", "never"], check=True, timeout=60, env=environment)
    [image] = Ec2Images({"provider": "ec2"}).images(MINE)
    assert image.state == "ready"
    tagged = [{"Name": f"tag:{OWNER}", "Values": [OURS[OWNER]]}]
    assert len(boto3.client("ec2").describe_snapshots(Filters=tagged)["Snapshots"]) == 1
    assert begun(tmp_path) == ()
