"""The kernel of a tree and its initrd, wherever its distribution has them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cncp.errors import CncpError
from cncp.netboot.mkimg.in_tree import Tree

_INITRDS = ("boot/initrd.img-{}", "boot/initramfs-{}.img", "boot/initrd-{}", "lib/modules/{}/initrd")
_OURS, _OUR_INITRD = "boot/cncp/kernel", "boot/cncp/initrd"  # where a node has those of the image that it runs


@dataclass(frozen=True)
class BootFiles:
    """Names of a kernel and of its initrd, "" where it has none, and whose modules are its own, "" if unknown."""

    kernel: str
    initrd: str
    version: str


def find(tree: Tree) -> BootFiles:
    """Return the kernel with the highest version.

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
        initrd = next((name for name in named if tree.path(name).is_file()), "")
        return BootFiles(there[version], initrd, version)
    if tree.has(_OURS):
        known = [name.rpartition("/")[2] for name in tree.found("lib/modules", "*")]
        return BootFiles(_OURS, _OUR_INITRD if tree.has(_OUR_INITRD) else "", known[0] if len(known) == 1 else "")
    raise CncpError(
        "the tree has no kernel: neither boot/vmlinuz-* nor lib/modules/*/vmlinuz",
        "install one in it, such as Debian's linux-image-amd64",
    )


def _ordered(version: str) -> tuple[tuple[int, str], ...]:
    """Return a version as something by which 6.10 comes after 6.9."""
    return tuple((int(number or -1), text) for number, text in re.findall(r"(\d+)|(\D+)", version))
