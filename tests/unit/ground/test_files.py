"""Locks on files: between processes they are refused, between threads of one they are waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from cncp.files import Busy, lock

CODE = Path(__file__).resolve().parents[3] / "bootstrap"

HOLDS = """
import sys
from pathlib import Path
from cncp.files import lock
with lock(Path(sys.argv[1]), "another command"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named(tmp_path: Path) -> None:
    """At once, with what it does; once it has ended the lock is free."""
    path = tmp_path / "lock"
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(argv, cwd=CODE, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"held by another command, process {other.pid}"), lock(path, "this"):
            pass
    with lock(path, "this"):
        pass


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    """Of two pools that a command has make instances at the same time, the second does so after the first."""
    path, order = tmp_path / "lock", list[str]()
    begun, over = threading.Event(), threading.Event()

    def first() -> None:
        with lock(path, "the first"):
            begun.set()
            over.wait(30)
            order.append("first")

    def second() -> None:
        with lock(path, "the second"):
            order.append("second")

    with ThreadPoolExecutor(2) as threads:
        holder = threads.submit(first)
        assert begun.wait(30)
        waiting = threads.submit(second)
        assert not wait([waiting], 0.2).done
        over.set()
        holder.result(30)
        waiting.result(30)
    assert order == ["first", "second"]


def test_a_thread_does_not_wait_for_itself(tmp_path: Path) -> None:
    """What is held already is refused, as it would never be free."""
    path = tmp_path / "lock"
    with lock(path, "this"), pytest.raises(Busy, match="held by this"), lock(path, "this again"):
        pass
