"""The line in the crontab is the account's, whoever works for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.machine import chef_api
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.services import crontab

_CRONTAB = """#!/bin/sh
table={folder}/$(id -ru)
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
        monkeypatch.setenv("PATH", f"{made}:/usr/bin:/bin")
        yield made


@pytest.fixture
def node(home: Path, folder: Path) -> Node:
    """Return a node of whoever runs this."""
    return chef_api.describe(chef_api.Given(), {"HOME": str(home), "CNCP_HOME": str(folder)})


def test_it_is_added_once_and_taken_out_again(folder: Path, node: Node) -> None:
    """Lines of others stay, also one that does not end; a table that is empty then goes."""
    table = folder / str(node.account.uid)
    actor = Actor(node.account)
    table.write_text("0 * * * * hourly")
    for _ in range(2):
        assert crontab.add(actor, node, ["/bin/start", "100%"]) == ""
    assert table.read_text().splitlines() == ["0 * * * * hourly", "@reboot /bin/start 100\\% # cncp cncp"]
    crontab.remove(actor, node)
    assert table.read_text() == "0 * * * * hourly\n"
    table.unlink()
    crontab.add(actor, node, ["/bin/start"])
    crontab.remove(actor, node)
    assert not table.exists()
