"""What is read and written in a tree stays in it, wherever its links lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.mkimg.in_tree import Tree


def test_links_lead_to_places_of_the_tree(tmp_path: Path) -> None:
    """An absolute one, one that leaves the root, and one through another."""
    outside, root = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc").symlink_to(outside)
    (root / "lib").symlink_to("usr/lib")
    (root / "up").symlink_to("../../usr/lib")
    tree = Tree(root)
    assert tree.path("lib/x") == tree.path("up/x") == tree.path("/usr/../usr/lib/x") == root / "usr/lib/x"
    tree.put("etc/fstab", "ours")
    tree.link("etc/one", "/elsewhere")
    tree.remove("etc/hostname")
    assert list(outside.iterdir()) == []
    assert tree.text("etc/fstab") == "ours"
    assert tree.path("etc/fstab").is_relative_to(root)


def test_a_link_is_replaced(tmp_path: Path) -> None:
    """What is written takes the place of a link; what it led to stays."""
    kept, root = tmp_path / "kept", tmp_path / "tree"
    root.mkdir()
    kept.write_text("kept")
    (root / "file").symlink_to(kept)
    Tree(root).put("file", "new")
    assert (kept.read_text(), (root / "file").read_text()) == ("kept", "new")


def test_folders_have_the_time_they_had(tmp_path: Path) -> None:
    """What is put into a tree is always of the same date, and its folder of its own."""
    above = tmp_path / "etc"
    above.mkdir()
    seen = above.stat().st_mtime_ns
    tree = Tree(tmp_path)
    tree.put("etc/new/file", "x")
    tree.put("etc/a", "x")
    tree.remove("etc/a")
    assert above.stat().st_mtime_ns == seen
    assert (above / "new").stat().st_mtime == (above / "new/file").stat().st_mtime


def test_a_circle(tmp_path: Path) -> None:
    """It is an error, and no endless search."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(CncpError, match="in a circle"):
        Tree(tmp_path).has("a/x")


def test_what_is_not_there(tmp_path: Path) -> None:
    """There is no text in it, and nothing to take away."""
    tree = Tree(tmp_path)
    tree.remove("none/x")
    assert (tree.text("x"), tree.has("x"), tree.found("none", "*")) == (None, False, [])
