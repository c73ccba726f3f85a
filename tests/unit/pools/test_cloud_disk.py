"""Files that are taken for images, and what is said of those that are none."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.pools.cloud import cloud_disk


def qcow2(room: int = 8 << 30, *, version: int = 3, backing: int = 0, encrypted: int = 0, table: int = 512) -> bytes:
    """Return the header of a qcow2, and some bytes after it."""
    head = struct.pack(">4sIQIIQIIQ", b"QFI\xfb", version, backing, 0, 16, room, encrypted, 16, table)
    return head.ljust(512, b"\0") + bytes(4096)


def raw(size: int = 3 << 20) -> bytes:
    """Return the bytes of a disk with a boot sector."""
    return bytes(510) + b"\x55\xaa" + bytes(size - 512)


def test_what_an_image_is(tmp_path: Path) -> None:
    """Format and size by what the file begins with, whatever its name says (openshift/installer#4279)."""
    misnamed, other = tmp_path / "a.raw", tmp_path / "b.qcow2"
    misnamed.write_bytes(qcow2(room=(8 << 30) + 1))
    other.write_bytes(raw())
    packed, plain = cloud_disk.read(misnamed), cloud_disk.read(other)
    assert (packed.format, packed.gigabytes, packed.size) == ("qcow2", 9, misnamed.stat().st_size)
    assert (plain.format, plain.gigabytes, plain.room) == ("raw", 1, 3 << 20)
    assert plain.digest == hashlib.sha256(raw()).hexdigest()
    assert plain.sums["sha512"] == hashlib.sha512(raw()).hexdigest()
    assert plain.code == ""


WRONG: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "text": (b"not an image\n" * 100, "it is no disk"),
    "short": (b"QFI\xfb\0\0\0\3", "is cut off"),
    "old": (qcow2(version=1), "damaged"),
    "nothing in it": (qcow2(room=0), "damaged"),
    "on another": (qcow2(backing=600), "stands on another file"),
    "encrypted": (qcow2(encrypted=1), "is encrypted"),
    "cut": (qcow2(table=1 << 20), "its tables lie beyond its 4608 bytes"),
    "vmdk": (b"KDMV" + bytes(1000), "a VMDK"),
    "box": (b"\x1f\x8b" + bytes(1000), "packed by gzip"),
    "xz": (b"\xfd7zXZ\0" + bytes(1000), "packed by xz"),
    "odd": (raw() + b"x", "it is no disk"),
    "no boot sector": (bytes(1 << 20), "it is no disk"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_none_is(tmp_path: Path, name: str) -> None:
    """It is said what it is in its place, with what to do."""
    content, told = WRONG[name]
    path = tmp_path / "disk.qcow2"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as caught:
        cloud_disk.read(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_what_is_not_there(tmp_path: Path) -> None:
    """Neither is a folder."""
    with pytest.raises(UsageError, match="does not exist"):
        cloud_disk.read(tmp_path / "none")
    with pytest.raises(UsageError, match="Is a directory"):
        cloud_disk.read(tmp_path)


def test_what_its_maker_says(tmp_path: Path) -> None:
    """One that is not what the list beside it says is refused; what is about another is left aside."""
    path = tmp_path / "cncp-compute.qcow2"
    path.write_bytes(qcow2())
    digest = hashlib.sha256(qcow2()).hexdigest()
    about = tmp_path / "cncp-compute.json"
    about.write_text(json.dumps({"image": digest, "code": "c" * 64}))
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  {path.name}\n{'0' * 64}  other\nodd\n")
    assert cloud_disk.read(path).code == "c" * 64
    for content in (json.dumps({"image": "0" * 64, "code": "c" * 64}), "{", "[]", '{"code": 1}'):
        about.write_text(content)
        assert cloud_disk.read(path).code == ""
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64} *{path.name}\n")
    with pytest.raises(UsageError, match=r"is not what .*SHA256SUMS says"):
        cloud_disk.read(path)
