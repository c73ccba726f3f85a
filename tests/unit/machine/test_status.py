"""What `status` shows beside the table."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import pytest

from cncp.console import Console
from cncp.errors import UsageError
from cncp.machine.ops.status import Status, totals
from cncp.tasks import cluster

CONTROLLER = Status("controller", "vm", None, 5, "up", 600.0, 80 * 2**20, 1.0, 0, "")
ENGINE = Status("engine-0", "vm", 0, 6, "idle", 600.0, 60 * 2**20, 1.0, 0, "")


def test_what_all_come_to() -> None:
    """Engines by state, the commonest first; where they are on several hosts, on how many; what all use."""
    assert totals([CONTROLLER, ENGINE]) == "1 engine: 1 idle · 140 MB"
    busy, away = replace(ENGINE, state="busy"), replace(ENGINE, host="far")
    assert totals([CONTROLLER, busy, ENGINE, away]) == "3 engines: 2 idle, 1 busy · 2 hosts · 260 MB"
    assert totals([CONTROLLER]) == ""
    assert totals([CONTROLLER, replace(ENGINE, pid=0, state="down")]) == ""


class Terminal(io.StringIO):
    """What a terminal is told."""

    def isatty(self) -> bool:
        """Be one."""
        return True


def test_a_page_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, or as long as somebody looks; a terminal is cleared for each, and a file gets nothing but text."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    once = Terminal()
    assert list(Console(once).pages(lambda: 1)) == [1]
    assert once.getvalue() == ""
    for out, page in ((Terminal(), "\x1b[H\x1b[J7\n"), (io.StringIO(), "7\n")):
        console = Console(out)
        for seen in itertools.islice(console.pages(lambda: "7", 2.0), 3):
            console.say(seen)
        assert out.getvalue() == 3 * page


def test_a_program_does_not_watch() -> None:
    """It asks again."""
    with pytest.raises(UsageError, match="--watch shows a table"):
        cluster.status.body.__wrapped__(None, json=True, watch=True)  # type: ignore[attr-defined]
