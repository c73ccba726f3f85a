"""Images are whole, signed, and called what they are."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.netboot import image_name
from cncp.netboot.image_store import ImageStore, Manifest
from cncp.netboot.minisign import SigningKey

KEY = SigningKey.made()


def store(folder: Path) -> ImageStore:
    """Return an empty store."""
    return ImageStore(folder, KEY.public)


def put(images: ImageStore, name: str, root: bytes = b"tree") -> Manifest:
    """Add a small image."""
    blobs = (images.add_blob("kernel", io.BytesIO(b"kernel")), images.add_blob("root", io.BytesIO(root)))
    manifest = Manifest(name, "tar.zst", 1.0, blobs)
    images.add(manifest, KEY)
    return manifest


def test_what_is_added_is_there(tmp_path: Path) -> None:
    """By name, with its blobs by their SHA-256; what two images share is kept once."""
    images = store(tmp_path)
    assert images.names() == []
    manifest = put(images, "compute-1-0")
    put(images, "compute-1-1", b"another tree")
    assert images.names() == ["compute-1-0", "compute-1-1"]
    assert images.read("compute-1-0") == manifest
    for blob in manifest.blobs:
        content = images.blob(blob.sha256).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (blob.sha256, blob.size)
    assert len(list((tmp_path / "blobs").iterdir())) == 3


def test_which_images_begin_anew(tmp_path: Path) -> None:
    """Those that stay packed on a node."""
    images = store(tmp_path)
    manifest = put(images, "compute-1-0")
    images.add(Manifest("packed-1-0", "squashfs", 1.0, manifest.blobs), KEY)
    assert [images.packed(name) for name in images.names()] == [False, True]


def test_another_account_reads_it(tmp_path: Path) -> None:
    """Whatever the umask of who makes it."""
    before = os.umask(0o077)
    try:
        put(store(tmp_path / "store"), "compute-1-0")
    finally:
        os.umask(before)
    found = [path for path in tmp_path.rglob("*") if path.name != "store"]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in found)
    assert all(path.stat().st_mode & 0o011 == 0o011 for path in found if path.is_dir())


def test_a_name_is_given_once(tmp_path: Path) -> None:
    """The same again is no error; other content under a name is."""
    images = store(tmp_path)
    manifest = put(images, "compute-1-0")
    put(images, "compute-1-0")
    with pytest.raises(UsageError, match="other content"):
        put(images, "compute-1-0", b"another tree")
    assert images.read("compute-1-0") == manifest


def test_an_empty_part(tmp_path: Path) -> None:
    """It is refused, and leaves nothing."""
    with pytest.raises(CncpError, match="kernel of the image is empty"):
        store(tmp_path).add_blob("kernel", io.BytesIO())
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_changed_manifest(tmp_path: Path) -> None:
    """Neither one that was changed, nor that of another image, nor one signed by somebody else is read."""
    images = store(tmp_path)
    manifest = put(images, "compute-1-0")
    put(images, "compute-1-1", b"another tree")
    path = tmp_path / "images" / "compute-1-0" / "manifest.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"kernel", b"initrd"))
    with pytest.raises(CncpError, match="does not hold"):
        images.read("compute-1-0")
    for part in ("manifest.json", "manifest.minisig"):
        path.with_name(part).write_bytes((tmp_path / "images" / "compute-1-1" / part).read_bytes())
    with pytest.raises(CncpError, match="is that of compute-1-1"):
        images.read("compute-1-0")
    images.add(replace(manifest, name="compute-2-0"), SigningKey.made())
    with pytest.raises(CncpError, match="another key"):
        images.read("compute-2-0")


def test_what_is_not_there(tmp_path: Path) -> None:
    """Those that are, are named."""
    images = store(tmp_path)
    put(images, "compute-1-0")
    with pytest.raises(UsageError, match="no image compute-9-9") as caught:
        images.read("compute-9-9")
    assert "compute-1-0" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["", "compute", "compute-1", "compute-1-0-1", "1-1-0", "../x-1-0", "a b-1-0", "c-1-x", "c-1-0\n", "ü-1-0"]
)
def test_bad_names(tmp_path: Path, name: str) -> None:
    """They are refused, and no folder comes of them."""
    with pytest.raises(UsageError, match="no name of an image"):
        image_name.checked(name)
    with pytest.raises(UsageError, match="no name of an image"):
        store(tmp_path).manifest(name)


def test_an_image_is_taken_away(tmp_path: Path) -> None:
    """With its parts, but for those that another has; what is of no image goes as well."""
    images = store(tmp_path)
    put(images, "compute-1-0")
    put(images, "compute-1-1", b"another tree")
    (tmp_path / "blobs/.half").write_bytes(b"half")
    assert images.remove("compute-1-0") == len(b"tree") + len(b"half")
    assert images.names() == ["compute-1-1"]
    assert len(list((tmp_path / "blobs").iterdir())) == 2
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["compute-1-1"]
    images.check("compute-1-1")
    with pytest.raises(UsageError, match="no image compute-1-0"):
        images.remove("compute-1-0")
    images.remove("compute-1-1")
    assert list((tmp_path / "blobs").iterdir()) == []


def test_what_an_unreadable_image_needs_is_not_known(tmp_path: Path) -> None:
    """So nothing is taken away for being nobody's."""
    images = store(tmp_path)
    put(images, "compute-1-0")
    put(images, "compute-1-1", b"another tree")
    (tmp_path / "images/compute-1-1/manifest.json").write_text("{}")
    assert images.remove("compute-1-0") == 0
    assert len(list((tmp_path / "blobs").iterdir())) == 3


def test_an_image_is_read_whole(tmp_path: Path) -> None:
    """A bit that is another, a part that is longer or gone is told with its image."""
    images = store(tmp_path)
    root = images.blob(put(images, "compute-1-0").blobs[-1].sha256)
    images.check("compute-1-0")
    for damage in (b"trea", b"tree and more"):
        root.write_bytes(damage)
        with pytest.raises(CncpError, match="the root of compute-1-0 is damaged"):
            images.check("compute-1-0")
    root.unlink()
    with pytest.raises(CncpError, match="the root of compute-1-0 is not there"):
        images.check("compute-1-0")
