"""The ESP of a node's disk: a FAT32 with two places for GRUB, of which its directory names one, or none.

A driver of FAT gives a file another content by several writes, in an order of its own. Here it is one sector that names
what UEFI boots, and a disk writes a sector wholly or not at all.

Format: Microsoft's FAT32 File System Specification 1.03; where UEFI looks: UEFI Specification 2.10, 3.5.1.1 and 13.3.
"""

from __future__ import annotations

import struct

from cncp.errors import CncpError

MIB = 33
"""How large the file system is: the fewest clusters that make one a FAT32, and some more."""

_SECTOR = 512  # bytes; of a cluster too
_TOTAL = MIB << 11
_RESERVED, _FATS, _FAT = 32, 2, 520  # sectors before the FATs, how many of these, sectors of each
_ROOT, _EFI, _BOOT = 2, 3, 4  # clusters of folders
_PLACE = 2048  # clusters of a place: 1 MiB
_PLACES = {"a": _BOOT + 1, "b": _BOOT + 1 + _PLACE}  # their first clusters, after the folder that names them
_END = 0x0FFFFFFF
_LABEL, _FOLDER, _FILE = 0x08, 0x10, 0x20
_DAY = 0x21  # 1980-01-01: the same bytes each time


def parts(grub: bytes) -> dict[str, bytes]:
    """Return what an ESP is made of: "frame", all before the directory; the directory, naming no place, "a" or "b".

    "grub" is as large as a place; place a is after the directory and place b after that. Raises CncpError.
    """
    if len(grub) > _PLACE * _SECTOR:
        raise CncpError("GRUB for UEFI is larger than its place", "this is a fault of cncp")
    return {
        "frame": _frame(),
        **{f"directory.{named}": _directory(named) for named in ("none", *_PLACES)},
        "grub": grub.ljust(_PLACE * _SECTOR, b"\0"),
    }


def _frame() -> bytes:
    heads = (_boot_sector(), _information())
    reserved = b"".join(heads).ljust(6 * _SECTOR, b"\0") + b"".join(heads)  # the second time for who repairs
    root, efi = (
        _folder(_entry("ESP", _LABEL, 0), _entry("EFI", _FOLDER, _EFI)),
        _folder(*_above(_EFI, 0), _entry("BOOT", _FOLDER, _BOOT)),
    )
    return reserved.ljust(_RESERVED * _SECTOR, b"\0") + _FATS * _fat() + root + efi


def _boot_sector() -> bytes:
    sizes = struct.pack("<HBHBHHBHHHII", _SECTOR, 1, _RESERVED, _FATS, 0, 0, 0xF8, 0, 63, 255, 0, _TOTAL)
    of_fat32 = struct.pack("<IHHIHH12xBBBI", _FAT, 0, 0, _ROOT, 1, 6, 0x80, 0, 0x29, 0x434E4350)
    sector = b"\xeb\x58\x90cncp    " + sizes + of_fat32 + b"ESP        FAT32   "
    return sector.ljust(510, b"\0") + b"\x55\xaa"


def _information() -> bytes:
    """Return the sector that says how much is free: nobody has counted."""
    return b"RRaA".ljust(484, b"\0") + b"rrAa" + b"\xff" * 8 + bytes(12) + b"\0\0\x55\xaa"


def _fat() -> bytes:
    folders = [_END, _END, _END]
    places = [entry for first in _PLACES.values() for entry in (*range(first + 1, first + _PLACE), _END)]
    entries = [0x0FFFFFF8, _END, *folders, *places]
    return struct.pack(f"<{len(entries)}I", *entries).ljust(_FAT * _SECTOR, b"\0")


def _directory(named: str) -> bytes:
    """Return the folder EFI/BOOT in which a place is the file that UEFI boots by itself."""
    files = (
        _entry("BOOTX64.EFI" if place == named else f"GRUB-{place.upper()}.EFI", _FILE, first, _PLACE * _SECTOR)
        for place, first in _PLACES.items()
    )
    return _folder(*_above(_BOOT, _EFI), *files)


def _folder(*entries: bytes) -> bytes:
    return b"".join(entries).ljust(_SECTOR, b"\0")


def _above(own: int, above: int) -> tuple[bytes, bytes]:
    """Return the entries of a folder for itself and for that above it, which is 0 for the root."""
    return _entry(".", _FOLDER, own), _entry("..", _FOLDER, above)


def _entry(name: str, attributes: int, cluster: int, size: int = 0) -> bytes:
    base, _, extension = (name, "", "") if name.startswith(".") else name.partition(".")
    short = f"{base:<8}{extension:<3}".encode()
    return short + struct.pack("<BBBHHHHHHHI", attributes, 0, 0, 0, _DAY, _DAY, 0, 0, _DAY, cluster, size)
