"""The kernel of a tree and its initrd, wherever its distribution has them."""

from __future__ import annotations

import re

from cncp.errors import CncpError
from cncp.netboot.mkimg.in_tree import Tree

_INITRDS = ("boot/initrd.img-{}", "boot/initramfs-{}.img", "boot/initrd-{}", "lib/modules/{}/initrd")
_OURS, _OUR_INITRD = "boot/cncp/kernel", "boot/cncp/initrd"  # where a node has those of the image that it runs


def find(tree: Tree) -> tuple[str, str]:
    """Return the names of the kernel with the highest version and of its initrd, "" where it has none.

    Raises CncpError where there is no kernel.
    """
    versions = {
        name.removeprefix("boot/vmlinuz-"): name
        for name in tree.found("boot", "vmlinuz-*")
        if not name.endswith((".old", ".dpkg-bak")) and "rescue" not in name
    }
    for name in tree.found("lib/modules", "*/vmlinuz"):
        versions.setdefault(name.split("/")[2], name)
    there = {version: name for version, name in versions.items() if tree.path(name).is_file()}
    if there:
        version = max(there, key=_ordered)
        named = (pattern.format(version) for pattern in _INITRDS)
        return there[version], next((name for name in named if tree.path(name).is_file()), "")
    if tree.has(_OURS):
        return _OURS, _OUR_INITRD if tree.has(_OUR_INITRD) else ""
    raise CncpError(
        "the tree has no kernel: neither boot/vmlinuz-* nor lib/modules/*/vmlinuz",
        "install one in it, such as Debian's linux-image-amd64",
    )


def _ordered(version: str) -> tuple[tuple[int, str], ...]:
    """Return a version as something by which 6.10 comes after 6.9."""
    return tuple((int(number or -1), text) for number, text in re.findall(r"(\d+)|(\D+)", version))
