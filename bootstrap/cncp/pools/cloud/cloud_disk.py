"""A file that is to become an image of a cloud: which format it has, how large its disk is, and what it is known by.

Facts: https://www.qemu.org/docs/master/interop/qcow2.html (the header); of a raw disk its first sector ends in 55 AA.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cncp.errors import CncpError, UsageError
from cncp.files import read_bytes
from cncp.pools.vm.about import ABOUT

Format = Literal["qcow2", "raw"]

SUMS = "SHA256SUMS"
"""Beside an image: what its maker says that it is."""

_SECTOR = 512
_OTHERS: Mapping[bytes, str] = {
    b"KDMV": "a VMDK",
    b"vhdxfile": "a VHDX",
    b"conectix": "a VHD",
    b"<<< ": "a VDI",
    b"\x1f\x8b": "packed by gzip",
    b"\xfd7zXZ": "packed by xz",
    b"(\xb5/\xfd": "packed by zstd",
    b"PK\x03\x04": "a zip archive",
}
"""What files begin with that are taken for images."""


@dataclass(frozen=True)
class Disk:
    """An image in a file. ``size`` are the bytes of the file, ``room`` those of the disk; ``code`` is as in `About`.

    ``sums`` are digests of the file by the names that hashlib has for them.
    """

    path: Path
    format: Format
    size: int
    room: int
    sums: Mapping[str, str]
    code: str = ""

    @property
    def digest(self) -> str:
        """What it is known by, in any cloud."""
        return self.sums["sha256"]

    @property
    def gigabytes(self) -> int:
        """How large a disk it needs, in GiB."""
        return max(1, -(-self.room // 2**30))


def read(path: Path) -> Disk:
    """Look at a file, and read it through. Raises UsageError where it is no image, or not what it was."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_SECTOR)
        size = path.stat().st_size
    except OSError as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise UsageError(f"{path} {why}", "make an image with: cncp vm.package, and name that file") from None
    kind, room = _looked_at(path, head, size)
    sums = _summed(path)
    _insist(path, sums["sha256"])
    return Disk(path, kind, size, room, sums, _code(path, sums["sha256"]))


def _looked_at(path: Path, head: bytes, size: int) -> tuple[Format, int]:
    """Return format and size of the disk, by what a file begins with. Raises UsageError."""
    if head.startswith(b"QFI\xfb"):
        return "qcow2", _room(path, head, size)
    named = next((form for begin, form in _OTHERS.items() if head.startswith(begin)), "")
    if not named and head[510:] == b"\x55\xaa" and size % _SECTOR == 0:
        return "raw", size
    named = named or ("empty" if not size else "no disk")
    raise UsageError(
        f"{path} is no image of a disk that clouds are given: it is {named}",
        "name a qcow2 or a raw one; others become one with: qemu-img convert -O qcow2",
    )


def _room(path: Path, head: bytes, size: int) -> int:
    """Return the size of a qcow2's disk. Raises UsageError on one that is cut off, or not all there is."""
    if len(head) < 72:
        raise UsageError(f"{path} is cut off", "get it again")
    version, backing = struct.unpack(">IQ", head[4:16])
    _, room, encrypted, entries, table = struct.unpack(">IQIIQ", head[20:48])
    if version not in (2, 3) or not room:
        raise UsageError(f"{path} is a qcow2 that is damaged", "get it again")
    if backing or encrypted:
        raise UsageError(
            f"{path} {'stands on another file' if backing else 'is encrypted'}, which a cloud does not have",
            "have it whole: qemu-img convert -O qcow2",
        )
    if table + 8 * entries > size:
        raise UsageError(f"{path} is cut off: its tables lie beyond its {size} bytes", "get it again")
    return int(room)


def _summed(path: Path) -> dict[str, str]:
    found = {name: hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha256", "sha512")}
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                for digest in found.values():
                    digest.update(block)
    except OSError as error:
        raise CncpError(f"{path} cannot be read: {error.strerror}", "see whether its disk is whole") from None
    return {name: digest.hexdigest() for name, digest in found.items()}


def _insist(path: Path, digest: str) -> None:
    """Raise UsageError where a list beside the file says that it is another."""
    lines = (read_bytes(path.with_name(SUMS)) or b"").decode(errors="replace").splitlines()
    said = {name.lstrip("*"): found for found, _, name in (line.replace("  ", " ").partition(" ") for line in lines)}
    if said.get(path.name, digest) != digest:
        raise UsageError(
            f"{path} is not what {path.with_name(SUMS)} says: its SHA-256 is {digest}",
            "get both again, or make it anew",
        )


def _code(path: Path, digest: str) -> str:
    """Return the digest of the code in an image, where the record beside it is about this one."""
    about = ABOUT.intact(path.parent)
    return about.code if about and about.image == digest else ""
