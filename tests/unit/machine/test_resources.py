"""What a machine is to hold: each kind says what differs, makes it so, and describes itself to Chef."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cncp import accounts
from cncp.errors import CncpError
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.resources import Block, Difference, Directory, File, Link, Resource
from cncp.managed_block import BEGIN

BLOCK = "profile/ipcluster_config.py"
"""A file under cookbooks/cncp/files/ that is put into another."""


@pytest.fixture
def actor() -> Actor:
    """Return the gate of the account that runs the tests."""
    return Actor(accounts.account(os.environ))


def of_all_kinds(folder: Path) -> list[Resource]:
    """Return one resource of each kind, below folders that are not there."""
    return [
        Directory(str(folder / "a/b"), 0o750, "home"),
        File(str(folder / "c/file"), 0o640, "home", content="text\n"),
        Block(str(folder / "d/block"), "profile", BLOCK),
        Link(str(folder / "e/link"), "/target", "units"),
    ]


def test_what_is_not_there_is_made_and_stays(tmp_path: Path, actor: Actor) -> None:
    """The folders above it are made as well; once it is there, nothing differs."""
    resources = of_all_kinds(tmp_path)
    changes = embedded.changes(resources)
    assert [(change.action, change.resource) for change in changes] == list(
        zip(("create directory", "create file", "create file", "link"), resources, strict=True)
    )
    embedded.apply(changes, actor)
    assert embedded.changes(resources) == []
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "d/block").stat().st_mode & 0o777 == 0o644


def test_what_differs_is_said_and_no_more(tmp_path: Path, actor: Actor) -> None:
    """A folder that is closed further, and the mode of a user's own file, are theirs."""
    folder, file, block, link = of_all_kinds(tmp_path)
    embedded.apply(embedded.changes([folder, file, block, link]), actor)
    Path(folder.path).chmod(0o700)
    Path(block.path).chmod(0o600)
    assert embedded.changes([folder, block]) == []
    Path(folder.path).chmod(0o755)
    Path(file.path).chmod(0o600)
    assert folder.difference() == Difference("mode", "0755 -> 0750")
    assert file.difference() == Difference("mode", "0600 -> 0640")
    Path(file.path).write_text("other\n")
    Path(link.path).unlink()
    Path(link.path).symlink_to("/elsewhere")
    assert file.difference() == Difference("change file", "--- is\n+++ to be\n@@ -1 +1 @@\n-other\n+text")
    assert link.difference() == Difference("link", "-> /target")


def test_a_block_leaves_the_users_bytes(tmp_path: Path, actor: Actor) -> None:
    """Whatever they are; Chef, which knows text alone, is not given them."""
    path = tmp_path / "config.py"
    path.write_bytes(b"mine = '\xe9'\n")
    path.chmod(0o600)
    block = Block(str(path), "profile", BLOCK)
    embedded.apply(embedded.changes([block]), actor)
    assert path.read_bytes().startswith(BEGIN.encode())
    assert path.read_bytes().endswith(b"\nmine = '\xe9'\n")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CncpError, match="is not UTF-8 text"):
        block.chef()


def test_what_chef_is_told(tmp_path: Path) -> None:
    """A folder stays as closed as it is, a source is named, a block is a whole file."""
    folder, file, block, link = of_all_kinds(tmp_path)
    common = {"owner": "login", "part": "home"}
    (tmp_path / "a").mkdir()
    Path(folder.path).mkdir(mode=0o700)
    assert folder.chef().to_json() == {"path": folder.path, "kind": "directory", "mode": "0700", **common}
    assert file.chef().to_json() == {"path": file.path, "kind": "file", "mode": "0640", "content": "text\n", **common}
    named = File(file.path, 0o600, "home", source="profile/x")
    assert named.chef().to_json() == {
        "path": file.path,
        "kind": "file",
        "mode": "0600",
        "source": "profile/x",
        **common,
    }
    told = block.chef()
    assert (told.kind, told.mode, (told.content or "").startswith(BEGIN)) == ("file", "0644", True)
    assert link.chef().target == "/target"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A folder in the place of a file is nobody's to take away."""
    (tmp_path / "file").mkdir()
    with pytest.raises(CncpError, match="file cannot be read") as failed:
        embedded.changes([File(str(tmp_path / "file"), 0o600, "home", content="x")])
    assert "move away" in failed.value.hint
