"""What engines are said to do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.ipp import hub as hub_client
from cncp.ipp.hub import Load
from cncp.machine.ops import engine_states
from cncp.machine.ops.status import Status, rows


@pytest.mark.parametrize(
    ("said", "busy"),
    [
        ({"task": {"seconds": 200.5}}, 200.5),
        ({"task": {}}, 0.0),
        # An engine of before an upgrade.
        ({}, 0.0),
        ({"task": {"seconds": "long"}}, 0.0),
        ({"task": {"seconds": -1}}, 0.0),
    ],
)
def test_engines_say_for_how_long_they_are_busy(said: dict[str, Any], busy: float) -> None:
    """What they say of their task is taken over; what is no number is none."""
    hub: Any = SimpleNamespace(
        engines=lambda _: {3: "a", 4: "b"},
        queues=lambda _: {3: Load(1, 0)},
        answering=lambda *_: {"a": hub_client._said(said)},
    )
    expected = engine_states.RollCall(controller=True, engines={"a": engine_states.EngineState(3, "busy", busy)})
    assert engine_states.look(hub, {"a"}) == expected


def test_a_busy_engine_shows_for_how_long() -> None:
    """From a second on; what is not busy has no time to show."""
    engine = Status("engine-0", "here", 0, 7, "busy", 1, 0, 0, 0, "", "u", 200.5)
    shown = [rows([replace(engine, state=state, busy=busy)])[0][4] for state, busy in [("busy", 200.5), ("busy", 0.2)]]
    assert shown == ["busy 3 min", "busy"]
    assert rows([replace(engine, state="idle", busy=0.0)])[0][4] == "idle"
