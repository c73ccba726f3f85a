"""What the controller's machine says of instances, also where there is nothing of ours, or not all of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cncp.errors import CncpError
from cncp.ipp.hub import NoAnswer
from cncp.machine import connection_files
from cncp.pools.cloud import admission
from cncp.pools.cloud.admission import Gate
from cncp.pools.cloud.registered import Work


def test_without_a_cluster(tmp_path: Path) -> None:
    """Nobody is registered, and nobody has to be told; `cncp up` is not kept from mending it."""
    gate = Gate(tmp_path)
    assert (gate.cluster, gate.ports) == ("", "")
    assert gate.work() == Work(answered=False)
    assert gate.drain(["host-1"], hold=True) == []
    gate.unregister(["host-1"])
    with pytest.raises(NoAnswer):
        gate.hub()


def test_what_has_changed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool is asked before `cncp up` has changed the machine, and again after: it goes by what there is then."""
    nodes = ["before", "after"]
    seen: list[str] = []

    def insist(node: str) -> None:
        seen.append(node)
        raise CncpError("nobody could join", "listen")

    monkeypatch.setattr(admission, "installed", lambda _: nodes.pop(0))
    monkeypatch.setattr(connection_files, "client", seen.append)
    monkeypatch.setattr(admission, "inviting", SimpleNamespace(insist=insist))
    gate = Gate(tmp_path)
    assert not gate.work().answered
    with pytest.raises(CncpError, match="nobody could join"):
        gate.open(None, {}, "", tmp_path, print)  # type: ignore[arg-type]  # refused before it is looked at
    assert seen == ["before", "after"]


def test_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to the scheduler of tasks, where only clients connect, but for the controller's own."""
    monkeypatch.setattr(admission, "installed", lambda _: "node")
    monkeypatch.setattr(admission, "running_process", lambda *_: SimpleNamespace(pid=7))
    monkeypatch.setattr(admission, "connections", lambda port, own: {(4000, 7): 2}[port, own])
    monkeypatch.setattr(connection_files, "client", lambda _: SimpleNamespace(task=4000))
    assert Gate(tmp_path).clients() == 2
    monkeypatch.setattr(connection_files, "client", lambda _: None)
    assert Gate(tmp_path).clients() == 0
