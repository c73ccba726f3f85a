"""The kernel that boots is found, wherever a distribution has it, with the initrd of its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.mkimg import boot_files
from cncp.netboot.mkimg.in_tree import Tree


def of(root: Path, *names: str) -> tuple[str, str, str]:
    """Return what is found in a tree of these files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    found = boot_files.find(Tree(root))
    return found.kernel, found.initrd, found.version


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("boot/vmlinuz-6.1.0-9-amd64", "boot/initrd.img-6.1.0-9-amd64"), (0, 1)),
        (("boot/vmlinuz-6.9", "boot/vmlinuz-6.10", "boot/initrd.img-6.9"), (1, None)),
        (("boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64", "boot/initrd.img-6.1.0-10-amd64"), (1, 2)),
        (("boot/vmlinuz-5.14.0-427.el9.x86_64", "boot/initramfs-5.14.0-427.el9.x86_64.img"), (0, 1)),
        (("boot/vmlinuz-0-rescue-1234", "boot/vmlinuz-5.14.0", "boot/vmlinuz-5.15.old"), (1, None)),
        (("lib/modules/6.8.0/vmlinuz", "boot/initramfs-6.8.0.img"), (0, 1)),
        (("lib/modules/6.8.0/modules.dep", "boot/vmlinuz-linux", "boot/initramfs-linux.img"), (1, 2)),
        (("boot/cncp/kernel", "boot/cncp/initrd"), (0, 1)),
        (("boot/cncp/kernel", "boot/vmlinuz-6.2"), (1, None)),
    ],
)
def test_what_boots(tmp_path: Path, names: tuple[str, ...], found: tuple[int, int | None]) -> None:
    """The highest version counts, and its own initrd."""
    kernel, initrd = found
    assert of(tmp_path, *names)[:2] == (names[kernel], "" if initrd is None else names[initrd])


@pytest.mark.parametrize("names", [(), ("boot/initrd.img-6.1",), ("lib/modules/6.1/modules.dep",)])
def test_a_tree_without_a_kernel(tmp_path: Path, names: tuple[str, ...]) -> None:
    """It says where one would be."""
    with pytest.raises(CncpError, match="has no kernel"):
        of(tmp_path, *names)


def test_a_kernel_that_is_elsewhere(tmp_path: Path) -> None:
    """A link is read as the node would; one that leads out of the tree is no kernel."""
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-7.0").symlink_to("/bin/sh")
    with pytest.raises(CncpError, match="has no kernel"):
        of(tmp_path)
    (tmp_path / "boot/vmlinuz-6.5").symlink_to("/usr/lib/kernel")
    assert of(tmp_path, "usr/lib/kernel") == ("boot/vmlinuz-6.5", "", "6.5")


def test_modules_of_a_node_s_own_kernel(tmp_path: Path) -> None:
    """What runs a node has lost its version; its modules have it, where there are those of one kernel alone."""
    assert of(tmp_path, "boot/cncp/kernel", "lib/modules/6.1/modules.dep")[2] == "6.1"
    assert of(tmp_path, "lib/modules/6.2/modules.dep")[2] == ""
