"""The line in the crontab is the account's, whoever works for it."""

from __future__ import annotations

import dataclasses
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.machine import document
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.place import Account
from cncp.machine.services import crontab

_CRONTAB = """#!/bin/sh
# As crontab(1) does, this goes by the real user id; all of them are noted.
table={folder}/$(id -ru)
sed -n 's/^\\([UG]id\\|Groups\\):/&/p' /proc/$$/status | tr -s '[:space:]' ' ' >>{folder}/ids
echo >>{folder}/ids
case $1 in
-l) cat "$table" 2>/dev/null ;;
-r) rm "$table" ;;
-) cat >"$table" ;;
esac
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a crontab of our own on PATH, whose tables are in an open folder."""
    with tempfile.TemporaryDirectory(prefix="cncp-cron.") as name:
        made = Path(name)
        made.chmod(0o777)
        program = made / "crontab"
        program.write_text(_CRONTAB.format(folder=made))
        program.chmod(0o755)
        (made / "ids").write_text("")
        (made / "ids").chmod(0o666)
        monkeypatch.setenv("PATH", f"{made}:/usr/bin:/bin")
        yield made


@pytest.fixture
def node(home: Path, folder: Path) -> Node:
    """Return a node of somebody who is not root, where that can be tried."""
    made = document.describe({}, {"HOME": str(home), "CNCP_HOME": str(folder)})
    if os.geteuid() != 0:
        return made
    entry = pwd.getpwnam("nobody")
    return dataclasses.replace(made, account=Account("nobody", entry.pw_uid, entry.pw_gid, str(home)))


def test_it_is_added_once_and_taken_out_again(folder: Path, node: Node) -> None:
    """Lines of others stay, also one that does not end; a table that is empty then goes."""
    table = folder / str(node.account.uid)
    actor = Actor(node.account)
    table.write_text("0 * * * * hourly")
    os.chown(table, node.account.uid, node.account.gid)
    for _ in range(2):
        assert crontab.add(actor, node, ["/bin/start", "100%"]) == ""
    assert table.read_text().splitlines() == ["0 * * * * hourly", "@reboot /bin/start 100\\% # cncp cncp"]
    crontab.remove(actor, node)
    assert table.read_text() == "0 * * * * hourly\n"
    table.unlink()
    crontab.add(actor, node, ["/bin/start"])
    crontab.remove(actor, node)
    assert not table.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_never_edits_its_own_for_an_account(folder: Path, node: Node) -> None:
    """Reading and writing go with all ids dropped, so that the user's lines never come into root's table."""
    own = folder / "0"
    own.write_text("@daily backup\n")
    actor = Actor(node.account)
    (folder / str(node.account.uid)).write_text("* * * * * theirs\n")
    os.chown(folder / str(node.account.uid), node.account.uid, node.account.gid)
    crontab.add(actor, node, ["/bin/start"])
    crontab.remove(actor, node)
    assert own.read_text() == "@daily backup\n"
    assert (folder / str(node.account.uid)).read_text() == "* * * * * theirs\n"
    uid, gid = node.account.uid, node.account.gid
    groups = " ".join(map(str, sorted(os.getgrouplist(node.account.name, gid))))
    expected = f"Uid: {uid} {uid} {uid} {uid} Gid: {gid} {gid} {gid} {gid} Groups: {groups}"
    assert {line.strip() for line in (folder / "ids").read_text().splitlines()} == {expected}
