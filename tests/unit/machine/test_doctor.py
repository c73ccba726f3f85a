"""What `check` says of ids at the controller."""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.ipp.engine_uuid import uuid_of
from cncp.machine.ops import doctor
from cncp.machine.ops.status import Status


def seen(name: str, state: str, uuid: str = "", pid: int = 7) -> Status:
    """Return what is known of a service."""
    return Status(name, "here", None, pid, state, 0, 0, 0, 0, "", uuid)


@pytest.mark.parametrize(
    ("engines", "found"),
    [
        ({0: "now"}, []),
        ({0: "now", 1: "former", 5: "gone"}, ["id 1 .*engine-0 of before", "id 5 .*engine-9 of before"]),
        # Other machines' are theirs to judge, and what a user has started is no service.
        ({0: "now", 1: "there", 2: "own"}, []),
    ],
)
def test_ids_without_an_engine_are_named(
    monkeypatch: pytest.MonkeyPatch, engines: dict[int, str], found: list[str]
) -> None:
    """An engine that went without a word, and the predecessor of one that runs."""
    uuids = {
        "now": uuid_of("here", 0, 1),
        "former": uuid_of("here", 0, 2),
        "gone": uuid_of("here", 9, 1),
        "there": uuid_of("there", 9, 1),
        "own": "b2a3c1d0-012345678901234567890123",
    }
    node: Any = SimpleNamespace(host="here", local_address=None)
    monkeypatch.setattr("cncp.machine.connection_files.client", lambda _: {})
    hub = SimpleNamespace(engines=lambda: {number: uuids[name] for number, name in engines.items()})
    monkeypatch.setattr("cncp.machine.ops.doctor.Hub", lambda *_: contextlib.nullcontext(hub))
    services = [seen("controller", "up"), seen("engine-0", "idle", uuids["now"]), seen("engine-9", "down", "", 0)]
    said = [finding.what for finding in doctor._ids(node, services)]
    assert len(said) == len(found)
    for line, pattern in zip(said, found, strict=True):
        assert re.search(pattern, line)
    assert not list(doctor._ids(node, [seen("controller", "silent")]))
