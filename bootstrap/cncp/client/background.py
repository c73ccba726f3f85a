"""`connect` without a terminal: started, looked at, stopped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from cncp.client import connect_state
from cncp.client.connect_state import Connected
from cncp.client.profile import Profile
from cncp.config.sources import SOURCE
from cncp.errors import CncpError, told
from cncp.process import begin
from cncp.waiting import wait_until

_START = 90.0  # s; two logins, each of which may take 30
_STOP = 15.0  # s to close the connection and put the file back


def start(words: Sequence[str], into: Profile) -> Connected:
    """Run the task with these words detached, and wait until it is up. Raises CncpError with what it said."""
    log = connect_state.log_in(into.path)
    for folder in (into.path, log.parent):
        folder.mkdir(mode=0o755 if folder == into.path else 0o700, parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = begin(
            [sys.executable, "-m", "cncp", *words],
            # From a checkout nothing is installed: the code is where this runs from.
            env={**os.environ, "PYTHONPATH": str(SOURCE / "bootstrap")},
            stdout=said,
            stderr=said,
            apart=True,
        )

    def up(found: Connected | None) -> bool:
        return found is not None and found.pid == process.pid

    found = wait_until(
        lambda: connect_state.read(into.path), _START, enough=lambda found: up(found) or process.poll() is not None
    )
    if found is not None and up(found):
        return found
    if process.poll() is not None:
        raise _failed(into, log)
    process.terminate()
    raise CncpError(f"connect was not up within {_START:g} s", f"look at: {log}")


def _failed(into: Profile, log: Path) -> CncpError:
    """Return the two lines that the process in the background ended with, and take its log away."""
    message, hint = told(log.read_text(errors="replace"))
    log.unlink()
    for folder in (log.parent, into.path):
        with contextlib.suppress(OSError):  # not empty: somebody else's
            folder.rmdir()
    return CncpError(message or "connect has ended", hint or "try without --background")


def stop(record: Connected) -> None:
    """End a `connect` and wait until it has put things back. Raises CncpError when it does not end."""
    process = psutil.Process(record.pid)
    process.terminate()
    try:
        process.wait(_STOP)
    except psutil.TimeoutExpired:
        raise CncpError(
            f"connect, process {record.pid}, does not end", f"end it by hand: kill -9 {record.pid}"
        ) from None
