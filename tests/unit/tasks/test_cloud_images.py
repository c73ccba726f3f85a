"""cloud.image and its like: what cannot be is refused before any cloud is asked, and nothing is changed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..elsewhere import install
from ..pools.test_cloud_disk import qcow2, raw
from ..refusal import answered

CLOUD = '''\
"""Clouds whose images are files of a folder; one of them takes none."""
import json, os
from dataclasses import asdict
from pathlib import Path
from cncp.pools.cloud.cloud_pool import CloudPool
from cncp.pools.cloud.images import Image

FOLDER = Path(os.environ["HOME"]) / "shelf"


class Folder:
    where = "a folder"

    def __init__(self, site):
        self.site = site

    def images(self, tags):
        found = [Image(**json.loads(path.read_text())) for path in sorted(FOLDER.glob("*"))]
        return [image for image in found if tags.items() <= image.tags.items()]

    def upload(self, disk, tags, clock, say):
        made = Image(f"img-{disk.digest[:4]}", "", "ready", clock.now(), disk.size, dict(tags))
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / made.id).write_text(json.dumps(asdict(made)))
        return made

    def drop(self, image):
        (FOLDER / image.id).unlink()


class Shelf(CloudPool):
    kind = "shelf"

    @classmethod
    def connect(cls, site, template):
        raise AssertionError("nobody asks for instances")

    @classmethod
    def images(cls, site):
        return Folder(site)


class Plain(CloudPool):
    kind = "plain"

    @classmethod
    def connect(cls, site, template):
        raise AssertionError("nobody asks for instances")
'''
POOL = '[[pool]]\nprovider = "{}"\ninstances = 1\nimage = "{}"\nflavor = "small"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user with an image, whose clouds are of another package."""
    site, home = tmp_path / "site", tmp_path / "user"
    home.mkdir()
    install(site, "shelves", {"shelves": CLOUD}, {"cncp.pools": {"shelf": "shelves:Shelf", "plain": "shelves:Plain"}})
    monkeypatch.syspath_prepend(site)
    (home / "disk.raw").write_bytes(raw())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CNCP_HOME", str(home / "cncp"))
    monkeypatch.chdir(home)
    yield home
    sys.modules.pop("shelves", None)


def described(home: Path, *pools: str) -> None:
    """Write a cluster.toml with these pools."""
    (home / "cluster.toml").write_text("".join(POOL.format(name, "debian-12") for name in pools))


@pytest.mark.parametrize(
    ("pools", "words", "told"),
    [
        ((), (), "has no pool of instances"),
        (("shelf", "plain"), ("disk.raw",), "there are several pools of instances"),
        (("shelf",), ("disk.raw", "--pool", "ec2"), "there is no pool of instances 'ec2'"),
        (("shelf",), ("--pool", "hosts", "disk.raw"), "there is no pool of instances 'hosts'"),
        (("plain",), ("disk.raw",), "plain takes no images from here"),
        (("shelf",), (), "cncp-compute.qcow2 does not exist"),
        (("shelf",), ("none.qcow2",), "none.qcow2 does not exist"),
        (("shelf",), ("cluster.toml",), "is no image of a disk"),
        (("shelf",), (".",), "Is a directory"),
        (("shelf",), ("half.qcow2",), "is cut off"),
        (("shelf",), ("on.qcow2",), "stands on another file"),
        (("shelf",), ("box.box",), "packed by gzip"),
        (("shelf",), ("said/disk.raw",), "is not what"),
        (("shelf",), ("disk.raw", "disk.raw"), "disk.raw"),
    ],
)
def test_what_cannot_be(home: Path, pools: tuple[str, ...], words: tuple[str, ...], told: str) -> None:
    """Two lines, exit 2, and no cloud is asked."""
    described(home, *pools)
    (home / "half.qcow2").write_bytes(qcow2(table=1 << 20))
    (home / "on.qcow2").write_bytes(qcow2(backing=9))
    (home / "box.box").write_bytes(b"\x1f\x8b" + bytes(1000))
    (home / "said").mkdir()
    (home / "said/disk.raw").write_bytes(raw())
    (home / "said/SHA256SUMS").write_text(f"{'0' * 64}  disk.raw\n")
    assert told in answered(home, ["cloud.image", "--quiet", *words])
    assert not (home / "shelf").exists()


def test_uploaded_listed_and_swept(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the line for cluster.toml; once a pool names it, it is wanted; a second time it is there already."""
    from cncp.tasks import program

    def said(*words: str) -> str:
        assert program.answer(words) == 0
        return capsys.readouterr().out

    described(home, "shelf")
    made = json.loads(said("cloud.image", "disk.raw", "--json"))
    assert made["uploaded"]
    assert f'image = "{made["id"]}"' in said("cloud.image", "disk.raw")
    assert not json.loads(said("cloud.image", "disk.raw", "--json"))["uploaded"]
    [listed] = json.loads(said("cloud.list", "--images", "--json"))
    assert (listed["id"], listed["unwanted"]) == (made["id"], "no pool of the file names it")
    assert listed["tags"]["cncp-profile"] == "cncp"
    (home / "cluster.toml").write_text(POOL.format("shelf", made["id"]))
    assert made["id"] in said("cloud.list", "--images")
    assert "there is nothing to sweep" in said("cloud.sweep", "--images", "--yes")
    described(home, "shelf")
    assert f"taken away: {made['id']}" in said("cloud.sweep", "--images", "--yes")
    assert os.listdir(home / "shelf") == []
    assert "there are no images of yours" in said("cloud.list", "--images")
