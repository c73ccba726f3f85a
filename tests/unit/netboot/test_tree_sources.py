"""What can be seen to be of no use as a source is refused before anything is made."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.netboot.mkimg.tree_sources import Folder, Packages


def test_no_tree(tmp_path: Path) -> None:
    """Neither a file, nor an empty folder, nor what is not there."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("empty", "file", "none"):
        with pytest.raises(UsageError, match="no folder with a tree"):
            Folder(tmp_path / name, tmp_path / "place").check()


def test_images_are_in_no_image(tmp_path: Path) -> None:
    """Where the folder of images is in the tree, it is left out."""
    tree, made = tmp_path / "tree", tmp_path / "made"
    (tree / "srv/images").mkdir(parents=True)
    (tree / "srv/images/large").write_text("x")
    (tree / "srv/other").write_text("x")
    made.mkdir()
    Folder(tree, tree / "srv/images").fill(made, [])
    assert [path.name for path in (made / "srv").iterdir()] == ["other"]


def test_packages_of_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a suite of this machine's one has to be named; without the program its package is."""
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/mmdebstrap")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    with pytest.raises(UsageError, match="is no Debian") as caught:
        Packages().check()
    assert "bookworm" in caught.value.hint
    Packages("bookworm").check()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CncpError, match="no mmdebstrap"):
        Packages("bookworm").check()
