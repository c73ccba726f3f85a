"""Trees are copied and packed by programs whose failures are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.mkimg import archives
from cncp.netboot.mkimg.in_tree import Tree
from cncp.process import CommandError


def test_copied_without_what_is_excluded(tmp_path: Path) -> None:
    """Patterns are paths from the root: the same name elsewhere is copied. To prune the whole comes to the same."""
    tree, copy, whole = (tmp_path / name for name in ("tree", "copy", "whole"))
    for name in ("opt/x", "usr/opt/x", "var/log/a.gz", "var/log/a/b.gz", "var/log/ab", "with space"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    excluded = ["/opt/", "/var/log/*.gz"]
    for folder, listed in ((copy, excluded), (whole, [])):
        folder.mkdir()
        archives.copy(tree, folder, listed)
    Tree(whole).prune(excluded)
    for folder in (copy, whole):
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert found == {"usr/opt/x", "var/log/ab", "with space"}


def test_failures_are_told(tmp_path: Path) -> None:
    """Of the first program, of the second, and of one that is not there."""
    with pytest.raises(CommandError, match="first"):
        archives.flow(["sh", "-c", "echo first >&2; exit 2"], ["cat"], tmp_path)
    with pytest.raises(CommandError, match="second"):
        archives.flow(["yes"], ["sh", "-c", "echo second >&2; exit 3"], tmp_path)
    with pytest.raises(CncpError, match="no cncp-none"):
        archives.flow(["true"], ["cncp-none"], tmp_path)
    archives.flow(["sh", "-c", "echo 'tar: ./log: file changed as we read it' >&2; exit 1"], ["cat"], tmp_path)


def test_what_is_no_archive(tmp_path: Path) -> None:
    """A tree that did not come whole is an error."""
    with pytest.raises(CommandError):
        archives.flow(["echo", "x" * 2000], archives.unpacking(tmp_path), tmp_path)
