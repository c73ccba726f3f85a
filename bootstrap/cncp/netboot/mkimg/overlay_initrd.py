"""The initrd of an image that stays packed: one that mounts a squashfs under an overlay, as no usual one does."""

from __future__ import annotations

from pathlib import Path

from cncp.errors import CncpError
from cncp.netboot.blancmange import image_initrd
from cncp.netboot.blancmange.cpio_archive import archive
from cncp.netboot.mkimg.boot_files import BootFiles
from cncp.netboot.mkimg.in_tree import Tree
from cncp.process import run

_DISKS = ("ata", "block", "message", "nvme", "scsi", "virtio")
"""Folders of the kernel's drivers, one of which has that of a node's disk."""

_BUSYBOX = ("usr/bin/busybox", "bin/busybox")


def make(tree: Tree, found: BootFiles, output: Path) -> None:
    """Write one for a tree and its kernel. Raises CncpError."""
    modules = tree.path(f"lib/modules/{found.version}")
    if not found.version or not modules.is_dir():
        raise CncpError(
            f"the tree has no modules of its kernel {found.kernel}", "install them, or pack it with --format tar.zst"
        )
    members = image_initrd.members(_busybox(tree), modules, [f"kernel/drivers/{name}" for name in _DISKS])
    output.write_bytes(archive(members))
    run(["zstd", "-q", "-12", "--rm", output, "-o", f"{output}.zst"])
    Path(f"{output}.zst").replace(output)


def _busybox(tree: Tree) -> Path:
    """Return a busybox that needs no library: the tree's, or this machine's."""
    for path in (*map(tree.path, _BUSYBOX), *(Path("/", name) for name in _BUSYBOX)):
        if path.is_file() and b"\0.interp\0" not in path.read_bytes():
            return path
    raise CncpError("an image as squashfs needs busybox, linked statically", "apt-get install busybox-static")
