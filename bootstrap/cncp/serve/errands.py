"""A verb of cncp that the service beside the controller runs once a minute: `cncp cloud.tend`, where a pool wants it.

In a process of its own: what it needs is imported by no service, and what it fails with ends none.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from pathlib import Path
from typing import IO

from cncp.process import Process, begin

EVERY = 60.0
"""Seconds from the end of one to the next."""

WANTED = "load-*.state"
"""What pools that follow the work there is keep in the folder ``cloud`` of CNCP_HOME."""

RENEWED, HALF_A_SEED = "seed-*.state", 43_200
"""What pools keep there whose members join by a seed that has to be made anew, and how old it becomes before, in s."""


class Errand:
    """The verb, run again and again."""

    def __init__(self, home: Path, log: logging.Logger) -> None:
        self._home, self._log = home, log
        self._running: Process | None = None
        self._said: IO[bytes] | None = None
        self._due = 0.0

    def look(self, now: float) -> None:
        """Begin one where it is time for that; tell what one that has ended complained of. ``now`` is any clock's."""
        if self._running is not None:
            self._ended(self._running, now)
        elif now >= self._due and self._wanted():
            try:
                # No pipe: nobody reads while it runs, and one that is full would hold it up for ever.
                self._said = tempfile.TemporaryFile()  # noqa: SIM115  # read and closed once that has ended
                self._running = begin([self._home / "venv/bin/cncp", "cloud.tend"], stderr=self._said)
            except OSError as error:
                self._log.warning("cloud.tend: %s", error.strerror)
                self._due = now + EVERY

    def _wanted(self) -> bool:
        folder, old = self._home / "cloud", time.time() - HALF_A_SEED
        # A pool may take its away just now.
        with contextlib.suppress(FileNotFoundError):
            if any(path.stat().st_mtime < old for path in folder.glob(RENEWED)):
                return True
        return any(folder.glob(WANTED))

    def _ended(self, process: Process, now: float) -> None:
        if process.poll() is None:
            return
        self._running, self._due = None, now + EVERY
        if self._said is not None:
            with self._said as said:
                said.seek(0)
                lines = said.read().decode(errors="replace").splitlines()
            for line in lines[-20:]:
                self._log.info("%s", line)

    def end(self) -> None:
        """End one that runs: it is gone on with by the next."""
        if self._running is not None:
            self._running.end(5.0)
