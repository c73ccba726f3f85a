"""A tree of Darwin is packed as data: with what started its agent, without what was one machine's, and never booted."""

from __future__ import annotations

import plistlib
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.cidd import Place
from cncp.netboot.mkimg import darwin, exclude_lists, image_making
from cncp.netboot.mkimg.in_tree import Tree
from cncp.netboot.mkimg.tree_sources import Folder

FILES = (
    "mach_kernel",
    "private/etc/hostconfig",
    "private/etc/ssh_host_key",
    "private/var/vm/swapfile0",
    "sbin/launchd",
)


def plant(root: Path) -> Path:
    """Make such a tree."""
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "etc").symlink_to("private/etc")
    return root


def test_kept_and_not_booted(tmp_path: Path) -> None:
    """Its kernel is a part of its own; cidd is told that it is no image for a node."""
    place = Place(tmp_path / "place")
    usual = exclude_lists.patterns(darwin.EXCLUDED, "the usual list")
    source = Folder(plant(tmp_path / "tree"), place.folder)
    recipe = image_making.Recipe(source, "tar.zst", usual, system="darwin")
    made = image_making.make("tiger-1-0", recipe, place, str)
    assert [blob.role for blob in made.blobs] == ["kernel", "root"]
    assert not place.images().bootable("tiger-1-0")


def test_what_is_in_it(tmp_path: Path) -> None:
    """The agent and what starts it; neither host keys nor swap."""
    tree = Tree(plant(tmp_path / "tree"))
    assert darwin.find(tree).kernel == "mach_kernel"
    darwin.prepare(tree)
    started = plistlib.loads(tree.path("Library/LaunchDaemons/cncp.cidkid.plist").read_bytes())
    assert tree.has(started["ProgramArguments"][-1])
    tree.prune([*exclude_lists.patterns(darwin.EXCLUDED, "usual"), *darwin.SECRETS])
    assert not tree.has("etc/ssh_host_key")
    assert not tree.has("private/var/vm/swapfile0")
    assert tree.has("private/var/vm")
    assert tree.has("etc/hostconfig")


def test_no_such_tree(tmp_path: Path) -> None:
    """One of another system has no kernel of this one."""
    with pytest.raises(CncpError, match="no kernel of Darwin"):
        darwin.find(Tree(tmp_path))
