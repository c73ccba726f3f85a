"""An image that stays packed gets an initrd that can mount it, whatever its tree has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.mkimg import boot_files, overlay_initrd
from cncp.netboot.mkimg.in_tree import Tree

from .small_tree import VERSION, plant


def made(tmp_path: Path, tree: Path) -> Path:
    """Make one."""
    found = boot_files.find(Tree(tree))
    overlay_initrd.make(Tree(tree), found, tmp_path / "initrd")
    return tmp_path / "initrd"


def busybox(tree: Path) -> None:
    """Have a program be there that says what it can do, and makes lists of modules."""
    (tree / "usr/bin/busybox").write_text("#!/bin/sh\n[ $1 != --list ] || echo sh\n")
    (tree / "usr/bin/busybox").chmod(0o755)


def test_what_is_in_it(tmp_path: Path) -> None:
    """The tree's busybox, and what mounts."""
    tree = plant(tmp_path / "tree")
    busybox(tree)
    packed = subprocess.run(["zstd", "-dc", made(tmp_path, tree)], check=True, capture_output=True).stdout
    for name in (b"init", b"usr/bin/busybox", b"usr/bin/sh", b"etc/cncp/modules"):
        assert name + b"\0" in packed
    assert b"root.squashfs" in packed


def test_without_modules(tmp_path: Path) -> None:
    """It could mount nothing: that is said."""
    tree = plant(tmp_path / "tree")
    busybox(tree)
    (tree / "usr/lib/modules" / VERSION).rename(tree / "usr/lib/modules/other")
    with pytest.raises(CncpError, match="no modules of its kernel"):
        made(tmp_path, tree)


def test_without_busybox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that needs libraries, nor none, will do."""
    tree = plant(tmp_path / "tree")
    (tree / "usr/bin/busybox").write_bytes(b"\x7fELF \0.interp\0")
    monkeypatch.setattr(overlay_initrd, "_BUSYBOX", ("usr/bin/busybox", "bin/busybox"))
    monkeypatch.setattr(Path, "is_file", lambda path: path.is_relative_to(tree) and path.exists())
    with pytest.raises(CncpError, match="linked statically"):
        overlay_initrd._busybox(Tree(tree))
