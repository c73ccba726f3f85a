"""Engines of a machine that is to be another: they get no task, and what they have comes to its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.ipp.hub import IDLE, Load, NoAnswer
from cncp.machine import connection_files
from cncp.machine.ops import draining_engines
from cncp.machine.ops.draining_engines import HOLD, drain, resume

NODE: Any = "node"


class Hub:
    """A hub that has an engine of ours and one of others; each look takes a task from ours."""

    def __init__(self, left: int = 0, direct: int = 0, *, drains: bool = True) -> None:
        self.left, self.direct, self.drains = left, direct, drains
        self.held: list[tuple[list[str], float]] = []

    def drain(self, uuids: Collection[str], seconds: float) -> Mapping[str, int]:
        """Have engines get no task."""
        if not self.drains:
            raise NoAnswer("no", "")
        self.held.append((list(uuids), seconds))
        self.left -= 1
        return {uuid: max(0, self.left) for uuid in uuids}

    def queues(self) -> Mapping[int, Load]:
        """Return what the hub knows of."""
        self.direct -= 1
        return {0: Load(queue=1) if self.direct > 0 else IDLE, 1: Load(queue=9)}

    def engines(self) -> Mapping[int, str]:
        """Return who is registered."""
        return {0: "mine", 1: "theirs"}


def played(monkeypatch: pytest.MonkeyPatch, hub: Hub | None, *uuids: str) -> None:
    """Have engines run here, and a hub answer, or none."""
    monkeypatch.setattr(draining_engines, "_LOOK", 0.001)
    processes = {f"engine-{at}": SimpleNamespace(uuid=uuid) for at, uuid in enumerate((*uuids, ""))}
    monkeypatch.setattr(draining_engines, "running", lambda _: processes)
    monkeypatch.setattr(connection_files, "engine", lambda _: "file")
    monkeypatch.setattr(draining_engines, "asked", lambda _, ask: ask(hub) if hub else None)


@pytest.mark.parametrize("hub", [Hub(), Hub(left=4), Hub(direct=3), Hub(left=2, direct=5), Hub(direct=2, drains=False)])
def test_their_tasks_end(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """Those of the scheduler and direct ones; what others have to do is nobody's business here."""
    played(monkeypatch, hub, "mine")
    assert drain(NODE) == []
    assert hub.direct <= 0
    assert hub.left <= 0
    assert {seconds for _, seconds in hub.held} <= {HOLD}


def test_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that compute are named."""
    played(monkeypatch, Hub(left=10**6), "mine")
    assert drain(NODE, 0.01) == ["engine-0"]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some looks: nobody gives them tasks, and they are not waited for in vain."""
    played(monkeypatch, None, "mine")
    assert drain(NODE, 0.001) == ["engine-0"]
    assert drain(NODE) == []
    resume(NODE)


def test_no_engine_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody to ask."""
    played(monkeypatch, Hub(left=10**6))
    assert drain(NODE) == []
    resume(NODE)


def test_they_get_tasks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when the time is over."""
    hub = Hub()
    played(monkeypatch, hub, "mine")
    resume(NODE)
    assert hub.held == [(["mine"], 0.0)]
