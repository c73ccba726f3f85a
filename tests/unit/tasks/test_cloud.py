"""Verbs of instances: what happens between a look and a deed, and where one pool of several fails."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from cncp.errors import CncpError
from cncp.pools.cloud import roster
from cncp.pools.cloud.journal import Batch, Journal
from cncp.pools.cloud.provider import BATCH, CLUSTER, Instance
from cncp.tasks import cloud

OURS, HERE = "ada@lovelace/0123abcd", "1" * 16


def test_an_up_between_the_question_and_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was nobody's when it was shown, and is wanted when it is to be ended, stays."""
    tags = {CLUSTER: HERE, BATCH: "b" * 16}
    new = Instance("i-2", "i-2", "running", tags=tags)
    gone = Instance("i-1", "i-1", "running", tags={CLUSTER: HERE, BATCH: "a" * 16})
    shown = [roster.Entry(instance, "there", "its cluster has no such instance any more") for instance in (gone, new)]
    ended: list[str] = []
    monkeypatch.setenv("CNCP_HOME", str(tmp_path))
    monkeypatch.setattr(cloud, "_entries", lambda _: ([(SimpleNamespace(where="there"), shown)], {}))
    monkeypatch.setattr(cloud, "owner_tag", lambda _: OURS)

    def sure(_: str) -> bool:
        Journal.of(tmp_path, HERE, OURS).note(Batch("b" * 16, "memory", {}, 1, 1.0, 2.0, stage="PLANNED"))
        return True

    monkeypatch.setattr(cloud, "_sure", sure)
    monkeypatch.setattr(roster, "sweep", lambda *given: ended.extend(entry.instance.id for entry in given[3]))
    body: Any = cloud.sweep
    body.body(Context())
    assert ended == ["i-1"]


def test_a_cloud_that_does_not_answer_keeps_no_other_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are looked at, what they need is brought up, and the failure is told."""
    gate = SimpleNamespace(hub=lambda: contextlib.nullcontext(None), clients=lambda: 1)
    pools = [SimpleNamespace(name=name, gate=gate) for name in ("first", "second", "third")]
    asked: list[str] = []

    def tend(pool: Any, *_: object) -> bool:
        asked.append(pool.name)
        if pool.name == "second":
            raise CncpError("it does not answer", "look at it")
        return bool(pool.name == "first")

    monkeypatch.setattr(cloud, "_pools", lambda _: pools)
    monkeypatch.setattr("cncp.tasks.cloud.tending.wanted", lambda found: found)
    monkeypatch.setattr("cncp.tasks.cloud.tending.tend", tend)
    monkeypatch.setattr("cncp.tasks.cloud.registered.work", lambda _: None)
    monkeypatch.setattr("cncp.tasks.cloud.main_job.converge", lambda *_, **__: asked.append("up"))
    body: Any = cloud.tend
    with pytest.raises(Exit, match="it does not answer"):
        body.body(Context())
    assert asked == ["first", "second", "third", "up"]


def test_a_pool_that_is_no_more_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is left of it for which the verb would be run each minute; another file's word does not count."""
    (tmp_path / "cloud").mkdir()
    for name in ("load-a.state", "load-b.state", "seed-a.state", "seed-c.state", "journal.json"):
        (tmp_path / "cloud" / name).write_text("{}")
    monkeypatch.setenv("CNCP_HOME", str(tmp_path))
    monkeypatch.setattr(cloud, "_all_pools", lambda _: [SimpleNamespace(name="a")])
    body: Any = cloud.tend
    body.body(Context(), file="other.toml", quiet=True)
    assert len(list((tmp_path / "cloud").iterdir())) == 5
    body.body(Context(), quiet=True)
    assert sorted(path.name for path in (tmp_path / "cloud").iterdir()) == [
        "journal.json",
        "load-a.state",
        "seed-a.state",
    ]
