"""Commands that are refused: two lines of what is wrong and what to do, and nothing changed."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import stage0
from cncp.tasks import program

ROOT = Path(__file__).resolve().parents[2]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every path below a folder with its mode and the time it last changed."""
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def refused(home: Path, argv: Sequence[str | Path], status: int, **variables: str) -> str:
    """Run a command in a home, hold that it refuses and changes nothing there, and return what it said."""
    before = tree(home)
    done = subprocess.run(
        argv,
        cwd=home,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.stdout == ""
    return _two_lines(home, before, done.returncode, status, done.stderr)


def cncp_refused(home: Path, words: Sequence[str], status: int = 2, **variables: str) -> str:
    """Do the same with a command line of cncp, in a process of its own."""
    argv = [sys.executable, "-m", "cncp", *words]
    return refused(home, argv, status, PYTHONPATH=str(ROOT / "bootstrap"), PYTHONDONTWRITEBYTECODE="1", **variables)


def answered(home: Path, words: Sequence[str], status: int = 2, **variables: str) -> str:
    """Do the same in this process: what starting a Python costs is paid for once a kind, not for every word."""
    return _in_process(home, lambda: program.answer(words), status, variables)


def not_installed(home: Path, words: Sequence[str], status: int = 2, **variables: str) -> str:
    """Have the installation refuse in this process, as it does once the script has found a Python."""
    with mock.patch.object(stage0, "install", side_effect=AssertionError("it goes on to install")):
        return _in_process(home, lambda: stage0.main(words, os.environ), status, variables)


def ran(folder: Path, words: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Have a command line of cncp answered in this process, in a folder; return what came of it."""
    return _ran(folder, lambda: program.answer(words), variables)


def _in_process(home: Path, work: Callable[[], int], status: int, variables: dict[str, str]) -> str:
    before = tree(home)
    done = _ran(home, work, variables)
    assert done.stdout == ""
    return _two_lines(home, before, done.returncode, status, done.stderr)


def _ran(folder: Path, work: Callable[[], int], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        _as_a_program(folder),
        mock.patch.dict(os.environ, variables),
        mock.patch.object(sys, "stdin", io.StringIO()),
        # What is imported from the folder would be compiled into it.
        mock.patch.object(sys, "dont_write_bytecode", True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = work()
    return subprocess.CompletedProcess([], status, out.getvalue(), err.getvalue())


def _two_lines(home: Path, before: dict[str, tuple[int, int]], done: int, status: int, said: str) -> str:
    lines = said.splitlines()
    assert done == status, said
    assert len(lines) == 2, said
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert tree(home) == before
    return said


@contextlib.contextmanager
def _as_a_program(folder: Path) -> Iterator[None]:
    """Be in a folder, and give back afterwards what a program alters of its process."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before, words, mask = os.getcwd(), sys.argv, os.umask(0o022)
    os.umask(mask)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.umask(mask)
        sys.argv = words
        for number, handler in signals.items():
            signal.signal(number, handler)
