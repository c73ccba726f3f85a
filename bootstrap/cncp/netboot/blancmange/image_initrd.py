"""An initrd for an image that has none of its own: finds the slot, mounts what is on it, and goes on there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cncp.netboot.blancmange import initramfs_base
from cncp.netboot.blancmange.cpio_archive import Member, file
from cncp.netboot.blancmange.top_config import HERE

LOADED = ("ext4", "loop", "squashfs", "overlay")
"""Modules that are loaded whatever the machine is."""


def members(busybox: Path, modules: Path, names: Iterable[str]) -> dict[str, Member]:
    """Return the files of an initrd, of a busybox that needs no library and the image's kernel. Raises CncpError.

    ``modules`` is lib/modules/VERSION of that, ``names`` the modules of the machine's disks, as in Blancmange's
    ``top_config.toml``.
    """
    return {
        **initramfs_base.members(busybox, modules, (*names, *LOADED), LOADED),
        "init": file((HERE / "image_initrd/init.sh").read_bytes(), 0o755),
    }
