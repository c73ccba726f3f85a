"""An initrd for an image that has none of its own: finds the slot, mounts what is on it, and goes on there."""

from __future__ import annotations

from collections.abc import Iterable

from cncp.netboot.blancmange import kernel_modules
from cncp.netboot.blancmange.cpio_archive import Member, file, folder, link
from cncp.netboot.blancmange.top_config import HERE
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree
from cncp.process import run

LOADED = ("ext4", "loop", "squashfs", "overlay")
"""Modules that are loaded whatever the machine is."""

_BUSYBOX = "usr/bin/busybox"


def members(tree: UnpackedTree, modules: Iterable[str]) -> dict[str, Member]:
    """Return the files of an initrd, from a tree with busybox-static and the image's kernel. Raises CncpError.

    ``modules`` are those of the machine's disks, as in Blancmange's ``top_config.toml``.
    """
    folder_of_modules = tree.path(f"usr/lib/modules/{tree.kernel}")
    applets = run([tree.path(_BUSYBOX), "--list"]).stdout.split()
    return {
        **{name: link(f"usr/{name}") for name in ("bin", "lib", "lib64", "sbin")},
        **{f"usr/bin/{name}": link("busybox") for name in applets},
        **{name: folder() for name in ("dev", "proc", "sys", "run", "slot", "tree")},
        _BUSYBOX: file(tree.file(_BUSYBOX), 0o755),
        "init": file((HERE / "image_initrd/init.sh").read_bytes(), 0o755),
        "etc/cncp/modules": file(f"{' '.join(LOADED)}\n".encode()),
        **kernel_modules.chosen(folder_of_modules, tree.path(_BUSYBOX), (*modules, *LOADED)),
    }
