"""Images are uploaded once, and what an upload has left is found again, whatever ended it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.pools.cloud import cloud_disk, images
from cncp.pools.cloud.cloud_disk import Disk
from cncp.pools.cloud.images import CODE, IMAGE, PROFILE, Image, Progress
from cncp.pools.cloud.provider import OWNER, QuotaExceeded, Unsure

from .memory_cloud import Hands, Killed
from .memory_images import MemoryImages
from .test_cloud_disk import raw

OURS = {OWNER: "ada@gold/00000000", PROFILE: "griffin"}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """An image."""
    path = tmp_path / "disk.raw"
    path.write_bytes(raw())
    return cloud_disk.read(path)


def bring(cloud: MemoryImages, home: Path, disk: Disk, said: list[str] | None = None) -> tuple[Image, bool]:
    """Do what `cncp cloud.image` does."""
    with images.locked(home, "cncp cloud.image"):
        return images.bring(cloud, home, disk, OURS, Hands(), (said if said is not None else []).append)


def test_it_is_uploaded_once(disk: Disk, tmp_path: Path) -> None:
    """By its digest; with whose it is, of which cluster; and it is said how far it is."""
    cloud, said = MemoryImages(), list[str]()
    made, new = bring(cloud, tmp_path, disk, said)
    assert (made.state, new) == ("ready", True)
    assert made.tags == {**OURS, IMAGE: disk.digest}
    assert said == ["50 % of 3 MB", "100 % of 3 MB"]
    assert images.begun(tmp_path) == ()
    cloud.silent = 1
    assert bring(cloud, tmp_path, disk) == (made, False)
    assert cloud.uploads == 1


def test_of_others_and_of_other_files(disk: Disk, tmp_path: Path) -> None:
    """Neither is taken for ours, nor taken away as what we have left."""
    there = {
        "img-a": Image("img-a", "", "ready", tags={IMAGE: disk.digest, OWNER: "bob@gold/00000000"}),
        "img-b": Image("img-b", "", "partial", tags={IMAGE: disk.digest, OWNER: "bob@gold/00000000"}),
        "img-c": Image("img-c", "", "partial", tags={**OURS, IMAGE: "f" * 64}),
        "img-d": Image("img-d", "", "ready"),
    }
    cloud = MemoryImages(made=dict(there))
    made, new = bring(cloud, tmp_path, disk)
    assert new
    assert cloud.made == {**there, made.id: made}


@pytest.mark.parametrize(
    "ends", [QuotaExceeded("no room", "have it raised"), Unsure("no answer", "again"), KeyboardInterrupt()]
)
def test_an_upload_that_ends_badly(disk: Disk, tmp_path: Path, ends: BaseException) -> None:
    """What it has left is taken away at once, and nothing is noted any more."""
    cloud = MemoryImages(ends=ends)
    with pytest.raises(type(ends)):
        bring(cloud, tmp_path, disk)
    assert cloud.made == {}
    assert images.begun(tmp_path) == ()


def test_killed_in_the_middle(disk: Disk, tmp_path: Path) -> None:
    """It is noted where; the next upload takes away what it left, and nobody else's."""
    cloud, said = MemoryImages(ends=Killed(), kept=True), list[str]()
    with pytest.raises(Killed):
        bring(cloud, tmp_path, disk)
    [left] = cloud.made
    assert [(upload.digest, dict(upload.site)) for upload in images.begun(tmp_path)] == [
        (disk.digest, dict(cloud.site))
    ]
    cloud.ends, cloud.kept = None, False
    made, new = bring(cloud, tmp_path, disk, said)
    assert new
    assert said[0] == f"taking away what an upload has left: {left}"
    assert cloud.made == {made.id: made}
    assert images.begun(tmp_path) == ()


def test_what_cannot_be_taken_away(disk: Disk, tmp_path: Path) -> None:
    """The error is that of the upload, and what is left stays noted, once."""
    cloud = MemoryImages(ends=Unsure("no answer", "again"), kept=True)
    with pytest.raises(Unsure):
        bring(cloud, tmp_path, disk)
    with pytest.raises(CncpError, match="may not be deleted"):
        bring(cloud, tmp_path, disk)
    assert len(images.begun(tmp_path)) == 1
    assert cloud.uploads == 1


def test_a_region_that_is_another(disk: Disk, tmp_path: Path) -> None:
    """What was begun in one is not forgotten by what ends well in the other."""
    here = MemoryImages(ends=Killed(), kept=True)
    other = MemoryImages(site={**here.site, "region": "there"})
    with pytest.raises(Killed):
        bring(here, tmp_path, disk)
    bring(other, tmp_path, disk)
    assert [upload.site["region"] for upload in images.begun(tmp_path)] == ["here"]


def test_what_arrives_is_another(disk: Disk, tmp_path: Path) -> None:
    """It is said and taken away: terraform-provider-openstack#304 had sizes and sums that were others."""
    cloud = MemoryImages(harmed=True)
    with pytest.raises(CncpError, match="has not got what was sent"):
        bring(cloud, tmp_path, disk)
    assert cloud.made == {}


def test_which_nobody_wants() -> None:
    """Those that no pool names by id or name, and what is left of uploads."""
    ready = Image("img-1", "cncp-0123", "ready", tags={CODE: "c" * 64})
    assert images.unwanted(ready, {"img-1"}) == images.unwanted(ready, {"cncp-0123"}) == ""
    assert images.unwanted(ready, {"debian-12"}) == "no pool of the file names it"
    assert images.unwanted(Image("img-1", "", "partial"), {"img-1"}) == "its upload was cut off"


def test_progress() -> None:
    """At every tenth, however large the steps are."""
    said: list[str] = []
    progress = Progress(1_000_000, said.append)
    for _ in range(1000):
        progress.add(1000)
    assert said == [f"{step} % of 1 MB" for step in range(10, 101, 10)]
    progress.add(1000)
    assert len(said) == 10
