"""How long is waited for services that start."""

from __future__ import annotations

import os
import signal
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

import pytest

from cncp import pidfile
from cncp.errors import CncpError
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


def await_end(patience: Patience, name: str) -> None:
    """Wait for a service as long as there is patience with it."""
    while not patience.over([name]):
        time.sleep(0.05)


def test_what_is_at_work_is_waited_for(tmp_path: Path) -> None:
    """The time of a service that does nothing is over while that of one that computes goes on, until it stops."""
    manager: Any = Manager()
    idle, busy = (Patience(node(tmp_path), manager, 4) for _ in range(2))
    with (
        service(tmp_path, "engine-0", "import time; time.sleep(600)"),
        service(tmp_path, "engine-1", "while True: pass") as worker,
    ):
        while not idle.over(["engine-0"]):
            assert not busy.over(["engine-1"])
            time.sleep(0.05)
        for _ in range(20):
            assert not busy.over(["engine-1"])
            time.sleep(0.05)
        os.kill(worker, signal.SIGSTOP)
        await_end(busy, "engine-1")


def test_those_that_work_are_known_by_name(tmp_path: Path) -> None:
    """Not before a first look; then the one that computes, and not the one that sleeps."""
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


def test_nobody_waits_for_what_ends_again_and_again(tmp_path: Path) -> None:
    """The fourth end is the last that is waited for, and the log says why."""
    manager: Any = Manager()
    patience = Patience(node(tmp_path), manager, 600)
    assert not patience.over(["engine-0"])
    manager.state = replace(manager.state, restarts=4, last_exit="exit code 1")
    with pytest.raises(CncpError) as caught:
        await_end(patience, "engine-0")
    assert caught.value.message == (
        "engine-0 ends again and again: exit code 1; its log ends with: ModuleNotFoundError: No module named 'gold'"
    )
    assert caught.value.hint == "look at: cncp logs --name engine-0"
