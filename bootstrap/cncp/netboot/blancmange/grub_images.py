"""GRUB for a disk, as its installer would write it: boot.img and core.img, told where they will lie; that for UEFI.

The layout has GRUB's partition first, at 1 MiB, on every disk, so both are the same for all nodes. Offsets are those of
GRUB 2's include/grub/i386/pc/boot.h and grub-core/boot/i386/pc/diskboot.S.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from cncp.errors import CncpError
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree

_SECTOR = 512  # bytes
_FIRST = 2048  # the sector where core.img begins
_CODE = 440  # bytes of boot.img before the table of partitions
_KERNEL_SECTOR, _DRIVE_CHECK = 0x5C, 0x66
_BLOCK_LIST = _SECTOR - 12
_SEGMENT = 0x820  # where core.img is loaded, past its first sector
_MODULES = (
    *("part_gpt", "ext2", "search", "search_label", "configfile", "normal", "linux", "loadenv", "test"),
    *("echo", "sleep", "reboot", "minicmd"),
)
_PREFIX = "(,gpt2)/grub"  # on the disk that it was booted from, by either firmware


def images(tree: UnpackedTree) -> tuple[bytes, bytes]:
    """Return boot.img, without the table of partitions, and core.img. Raises CncpError."""
    boot = bytearray(tree.file("usr/lib/grub/i386-pc/boot.img")[:_CODE])
    struct.pack_into("<Q", boot, _KERNEL_SECTOR, _FIRST)
    # As on all that is no floppy: the drive is the one that the BIOS names, and no guess is made.
    boot[_DRIVE_CHECK : _DRIVE_CHECK + 2] = b"\x90\x90"
    core = bytearray(_made(tree, "i386-pc", "biosdisk"))
    if len(core) > _FIRST * _SECTOR:
        raise CncpError("GRUB is larger than its partition", "this is a fault of cncp")
    core += bytes(-len(core) % _SECTOR)
    struct.pack_into("<QHH", core, _BLOCK_LIST, _FIRST + 1, len(core) // _SECTOR - 1, _SEGMENT)
    return bytes(boot), bytes(core)


def efi_image(tree: UnpackedTree) -> bytes:
    """Return GRUB for UEFI, which signs nothing: Secure Boot refuses it. Raises CncpError."""
    # Without a driver of the screen the kernel would have none until it knows the card.
    return _made(tree, "x86_64-efi", "efi_gop")


def _made(tree: UnpackedTree, platform: str, module: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grub"
        tree.run(
            *("usr/bin/grub-mkimage", "-O", platform, "-d", tree.path(f"usr/lib/grub/{platform}")),
            *("-p", _PREFIX, "-o", path, module, *_MODULES),
        )
        return path.read_bytes()
