"""An image is there whole and signed, or nothing of it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.files import Busy
from cncp.netboot.cidd import Place
from cncp.netboot.image_store import Manifest
from cncp.netboot.mkimg import archives, image_making

from .small_tree import VERSION, make, plant


def left(folder: Path) -> list[str]:
    """Return what is in cidd's folder, but for its keys and the lock."""
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [str(path) for path in found if path.name not in ("signing.key", "signing.pub", "images.lock")]


def test_the_same_again(tmp_path: Path) -> None:
    """Its parts are those of the tree, and a second time nothing changes."""
    tree, place = plant(tmp_path / "tree"), tmp_path / "place"
    first = make(place, tree)
    before = left(place)
    assert make(place, tree) == first
    assert left(place) == before
    assert [blob.role for blob in first.blobs] == ["kernel", "initrd", "root"]
    Place(place).images().check("compute-1-0")


def test_other_content(tmp_path: Path) -> None:
    """A name is that of one image: the other is refused, and nothing of it stays."""
    tree, place = plant(tmp_path / "tree"), tmp_path / "place"
    make(place, tree)
    before = left(place)
    (tree / "etc/motd").write_text("new")
    with pytest.raises(UsageError, match="other content"):
        make(place, tree)
    assert left(place) == before
    make(place, tree, "compute-1-1")
    assert len(Place(place).images().names()) == 2
    assert len(list((place / "store/blobs").iterdir())) == 4, "kernel and initrd are shared"


def test_without_an_initrd(tmp_path: Path) -> None:
    """An image has none where its kernel has none, which not every node boots: it is said."""
    tree, said = plant(tmp_path / "tree"), list[str]()
    make(tmp_path / "place", tree, say=said.append)
    assert not [line for line in said if "initrd" in line]
    (tree / f"boot/initrd.img-{VERSION}").unlink()
    made = make(tmp_path / "place", tree, "compute-1-1", say=said.append)
    assert [blob.role for blob in made.blobs] == ["kernel", "root"]
    assert "it has no initrd: only nodes boot it whose disk, and ext4, are built into its kernel" in said


@pytest.mark.parametrize("name", ["compute", "compute-1", "../x-1-0", "-1-0", ""])
def test_a_bad_name(tmp_path: Path, name: str) -> None:
    """Nothing is made for it, not even the folder."""
    with pytest.raises(UsageError, match="no name of an image"):
        make(tmp_path / "place", plant(tmp_path / "tree"), name)
    assert not (tmp_path / "place").exists()


def test_without_a_kernel(tmp_path: Path) -> None:
    """It is refused, and nothing is left."""
    tree = plant(tmp_path / "tree")
    (tree / f"boot/vmlinuz-{VERSION}").unlink()
    with pytest.raises(CncpError, match="has no kernel"):
        make(tmp_path / "place", tree)
    assert left(tmp_path / "place") == []


def test_what_was_killed_is_cleared_away(tmp_path: Path) -> None:
    """Its folder, parts without an image, and a manifest that nobody signed: gone with the next image that is made."""
    tree, place = plant(tmp_path / "tree"), tmp_path / "place"
    (place / ".making-x/tree").mkdir(parents=True)
    (place / "store/blobs").mkdir(parents=True)
    (place / "store/blobs" / ("0" * 64)).write_text("nobody's")
    (place / "store/images/compute-9-0").mkdir(parents=True)
    (place / "store/images/compute-9-0/manifest.json").write_text("{")
    make(place, tree)
    assert [path.name for path in (place / "store/images").iterdir()] == ["compute-1-0"]
    assert len(list((place / "store/blobs").iterdir())) == 3
    assert not (place / ".making-x").exists()


def test_one_at_a_time(tmp_path: Path) -> None:
    """Who makes one meanwhile is named."""
    tree = plant(tmp_path / "tree")
    with image_making.alone(tmp_path / "place", "cncp image.make other-1-0"), pytest.raises(Busy, match="other-1-0"):
        make(tmp_path / "place", tree)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever program fails by it, and whatever it says, that is what is told."""

    def fails(*_: object) -> Manifest:
        raise CncpError("zstd exited with 1", "see there")

    tree, seen = plant(tmp_path / "tree"), os.statvfs(tmp_path)
    monkeypatch.setattr(archives, "pack", fails)
    with pytest.raises(CncpError, match="zstd exited with 1"):
        make(tmp_path / "place", tree)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((seen[0], seen[1], *([0] * 8))))
    with pytest.raises(CncpError, match="is full"):
        make(tmp_path / "place", tree)
    assert left(tmp_path / "place") == []
