"""How long is waited for services that start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from cncp import pidfile
from cncp.errors import CncpError
from cncp.machine.services import startup
from cncp.machine.services.base import ServiceState
from cncp.machine.services.logs import written_since
from cncp.machine.services.startup import Patience


class Manager:
    """A service manager that only tells states."""

    def __init__(self) -> None:
        self.state = ServiceState("engine-0", running=True)

    def states(self) -> dict[str, ServiceState]:
        """Return the one there is."""
        return {"engine-0": self.state}


def node(folder: Path) -> Any:
    """Return what is looked at of a node."""
    log = folder / "engine-0.log"
    log.write_text("Traceback\nModuleNotFoundError: No module named 'gold'\n\n")
    account, settings = SimpleNamespace(uid=os.getuid()), SimpleNamespace(logs="files")
    return SimpleNamespace(
        account=account, home=str(folder), run_dir=folder, log_dir=folder, manager="tmux", settings=settings
    )


@contextmanager
def service(folder: Path, name: str, code: str) -> Iterator[int]:
    """Run a process and leave its record."""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        pidfile.write(folder, name, pid=process.pid)
        try:
            yield process.pid
        finally:
            process.kill()


class Clock:
    """Time that passes when a test says so, for what looks at it and for the processes that it looks at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.used = {0: 0.0, 1: 0.0}
        look = SimpleNamespace(Error=psutil.Error, Process=self.process)
        monkeypatch.setattr(startup, "time", SimpleNamespace(monotonic=lambda: self.now, time=time.time))
        monkeypatch.setattr(startup, "psutil", look)
        monkeypatch.setattr(startup, "running_process", lambda _, name: SimpleNamespace(pid=int(name[-1]) or None))

    def process(self, pid: int) -> Any:
        """Return what is asked of a process."""
        return SimpleNamespace(pid=pid, cpu_times=lambda: (self.used[pid], 0.0), children=lambda **_: [])

    def passes(self, seconds: float, worked: float = 0.0) -> None:
        """Let time pass, of which engine-1 computes for some."""
        self.now += seconds
        self.used[1] += worked


def test_what_is_at_work_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a service that does nothing is over while that of one that computes goes on, until it stops."""
    manager: Any = Manager()
    clock = Clock(monkeypatch)
    idle, busy = (Patience(node(tmp_path), manager, 4) for _ in range(2))
    for _ in range(12):
        clock.passes(startup.LOOK + 0.1, worked=1)
        assert not busy.over(["engine-1"])
        assert idle.over(["engine-0"]) == (clock.now > 4)
    clock.passes(3, worked=startup.WORK * 3 - 0.01)
    assert not busy.over(["engine-1"])
    clock.passes(3)
    assert busy.over(["engine-1"])


def test_not_even_work_is_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the time-out is the end."""
    manager: Any = Manager()
    clock = Clock(monkeypatch)
    patience = Patience(node(tmp_path), manager, 4)
    while clock.now < 39:
        clock.passes(3, worked=3)
        assert not patience.over(["engine-1"])
    clock.passes(3, worked=3)
    assert patience.over(["engine-1"])


def test_those_that_work_are_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of real processes: not before a first look; then the one that computes, and not the one that sleeps."""
    monkeypatch.setattr(startup, "LOOK", 0.2)
    manager: Any = Manager()
    patience = Patience(node(tmp_path), manager, 600)
    with (
        service(tmp_path, "engine-0", "import time; time.sleep(600)"),
        service(tmp_path, "engine-1", "while True: pass"),
    ):
        assert patience.working is None
        while not patience.working:
            assert not patience.over(["engine-0", "engine-1"])
            time.sleep(0.05)
        while "engine-0" in patience.working:
            # Its start is work, too.
            patience.over(["engine-0", "engine-1"])
            time.sleep(0.05)
        assert patience.working == {"engine-1"}


def test_an_old_line_of_a_log_explains_nothing() -> None:
    """Only what was written in this start is said, with the lines without a time that follow it."""
    old, new = "2026-11-25 10:00:00,100 ERROR it: old", "2026-11-25 11:00:00,100 ERROR it: new"
    since = datetime.fromisoformat("2026-11-25 10:30:00").timestamp()
    assert written_since(["rest", old, "Traceback of old"], since) == []
    assert written_since([old, new, "Traceback of new"], since) == [new, "Traceback of new"]
    assert written_since(["Traceback", "without a time"], since) == ["Traceback", "without a time"]


def test_nobody_waits_for_what_ends_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fourth end is the last that is waited for, and the log says why."""
    manager: Any = Manager()
    clock = Clock(monkeypatch)
    patience = Patience(node(tmp_path), manager, 600)
    assert not patience.over(["engine-0"])
    clock.passes(startup.LOOK + 1)
    manager.state = replace(manager.state, restarts=4, last_exit="exit code 1")
    with pytest.raises(CncpError) as caught:
        patience.over(["engine-0"])
    assert caught.value.message == (
        "engine-0 ends again and again: exit code 1; its log ends with: ModuleNotFoundError: No module named 'gold'"
    )
    assert caught.value.hint == "look at: cncp logs --name engine-0"
