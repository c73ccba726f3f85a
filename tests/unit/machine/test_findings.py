"""What `check` makes of what it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.ipp.connection_file import ConnectionFile
from cncp.machine import connection_files
from cncp.machine.node import Node
from cncp.machine.ops import checks, doctor
from cncp.machine.ops.status import Status
from tests.unit.machine.test_choices import node

CONTROLLER = Status("controller", "vm", None, 5, "up", 600.0, 1, 1.0, 0, "")
ENGINE = Status("engine-0", "vm", None, 6, "starting", 600.0, 1, 1.0, 0, "", "vm_0_0123456789ab")


def found(*seen: Status) -> list[doctor.Finding]:
    """Return what is found in these states."""
    return list(doctor._services(node(engines="1"), list(seen)))


def test_an_engine_has_a_moment_to_start_and_no_more() -> None:
    """After seconds it is waited for; after minutes it is said what it does not reach, and up mends it."""
    (early,) = found(CONTROLLER, replace(ENGINE, uptime=3.0))
    assert "wait a moment" in early.remedy
    (late,) = found(CONTROLLER, ENGINE)
    assert late.what.startswith("engine-0 has run for 10 min and has not reached the controller at ")
    assert late.remedy.startswith("cncp up starts it anew")


def test_engines_without_a_controller_are_its_fault() -> None:
    """One finding, and not one an engine."""
    (finding,) = found(replace(CONTROLLER, state="silent"), ENGINE, replace(ENGINE, name="engine-1"))
    assert finding.what == "controller runs but does not answer"


def test_what_ends_again_and_again_is_not_told_to_be_restarted() -> None:
    """A restart is what it has had."""
    (finding,) = found(replace(CONTROLLER, state="silent", uptime=0.4, restarts=28, last_exit="exit code 1"))
    assert finding.what == "controller ends again and again (28 times): exit code 1"
    assert "restart" not in finding.remedy


def test_a_folder_of_logs_that_is_gone_is_found(home: Path) -> None:
    """Services that run write on; the next start fails for ever."""
    made = replace(node(engines="1"), profile_dir=str(home / "p"))
    (finding,) = doctor._logs(made)
    assert finding.remedy == "cncp up makes it again"
    made.log_dir.mkdir(parents=True)
    assert not list(doctor._logs(made))


def test_a_full_disk_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same words as up says it, and with more room to spare."""
    monkeypatch.setattr(checks, "full", lambda *_: ["the disk of /x has no room for more files"])
    (finding,) = doctor._disk(replace(node(), home=str(home)))
    assert finding.what == "the disk of /x has no room for more files"


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Node]:
    """Return what makes a machine of engines whose controller elsewhere knows these, or does not answer."""

    def make(known: Any) -> Node:
        def asked(_: Any, ask: Callable[[Any], Any]) -> Any:
            return None if known is None else ask(SimpleNamespace(engines=lambda _: known))

        monkeypatch.setattr(doctor, "asked", asked)
        here = {"interface": "tcp://0.0.0.0", "location": "gold", "registration": 20000, "key": "k"}
        words = {"signature_scheme": "hmac-sha256", "pack": "json", "unpack": "json"}
        monkeypatch.setattr(connection_files, "engine", lambda _: ConnectionFile.from_json({**here, **words}, "it"))
        return node(role="engine", engines="1")

    return make


def test_a_controller_elsewhere_is_asked_for_its_engines(far: Callable[[Any], Node]) -> None:
    """An engine that runs and is not registered is found where it runs, not only where the controller is."""
    running = replace(ENGINE, state="running")
    assert not list(doctor._far(far({0: running.uuid}), [running]))
    (lost,) = doctor._far(far({}), [running])
    assert "is not registered with the controller" in lost.what
    assert not list(doctor._far(far({}), [replace(running, uptime=2.0)]))
    (silent,) = doctor._far(far(None), [running])
    assert silent.what == "the controller does not answer at gold:20000"
