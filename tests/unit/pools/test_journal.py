"""The journal of instances: what it keeps, and that nothing takes a damaged one for an empty one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError
from cncp.pools.cloud.journal import Batch, Journal, clusters, locked

ID = "0f3a9c1e55aa7b20"
BATCH = Batch("b" * 16, "ec2", {"provider": "ec2", "region": "eu-1"}, 2, 1000.0, 4600.0, zone="eu-1a")


def test_what_is_noted_is_there(tmp_path: Path) -> None:
    """Another command reads what one has written, whole, and by nobody else."""
    journal = Journal.of(tmp_path, ID, "ada@gold")
    assert not journal.batches
    journal.note(BATCH)
    journal.note(replace(BATCH, stage="REQUESTED", ids=("i-1", "i-2")))
    journal.note_short("ec2", "1 of 3 could not be had")
    other = Journal.of(tmp_path, ID, "somebody else")
    assert other.batches == journal.batches == (replace(BATCH, stage="REQUESTED", ids=("i-1", "i-2")),)
    assert (other.owner, other.short("ec2")) == ("ada@gold", "1 of 3 could not be had")
    assert other.ids == {"i-1", "i-2"}
    assert clusters(tmp_path) == [ID]
    other.without(["i-1", "i-9"])
    assert [batch.ids for batch in other.open("ec2")] == [("i-2",)]
    assert other.open("openstack") == []
    other.without(["i-1", "i-2"])
    assert other.open() == []
    other.forget()
    assert clusters(tmp_path) == []


def test_closed_batches_are_kept_for_a_week(tmp_path: Path) -> None:
    """For who wonders what there was; open ones for as long as they are."""
    journal = Journal.of(tmp_path, ID, "")
    journal.note(replace(BATCH, stage="CLOSED"))
    journal.note(replace(BATCH, id="c" * 16))
    journal.note(replace(BATCH, id="d" * 16, planned=1000.0 + 8 * 86400))
    assert [batch.id[0] for batch in journal.batches] == ["c", "d"]


GOOD = {"format": 1, "cluster": ID, "owner": "ada", "batches": []}
ENTRY = {"id": "b", "pool": "ec2", "site": {}, "count": 1, "planned": 0, "deadline": 0}
WRONG: list[dict[str, Any]] = [
    {"stage": "GONE"},
    {"ids": "i-1"},
    {"ids": [1]},
    {"count": "1"},
    {"site": []},
    {"site": {"a": 1}},
    {"planned": "x"},
    {"spot": 1},
    {"joined": 1e400},
]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({**GOOD, "format": 2}),
        json.dumps({**GOOD, "cluster": "f" * 16}),
        json.dumps({key: value for key, value in GOOD.items() if key != "batches"} | {"batches": {}}),
        *(json.dumps({**GOOD, "batches": [{**ENTRY, **wrong}]}) for wrong in WRONG),
    ],
)
def test_a_damaged_one_is_told(tmp_path: Path, content: str) -> None:
    """It named instances: to begin anew would be to forget them."""
    (tmp_path / "cloud").mkdir()
    (tmp_path / "cloud" / f"{ID}.json").write_text(content)
    with pytest.raises(CncpError, match=f"{ID}.json(, the journal .*| is the journal| was written by)"):
        Journal.of(tmp_path, ID, "ada")


def test_two_commands_at_once(tmp_path: Path) -> None:
    """The second is told of the first."""
    with locked(tmp_path, "cncp up"), pytest.raises(CncpError, match="is held by cncp up"), locked(tmp_path, "down"):
        pass
