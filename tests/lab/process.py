"""Processes named so that a number used again is never mistaken for them.

The lab ends only what it started, also after a crash and by a later process.
A process number alone is not enough for that: the kernel hands it out again.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .command import LabTimeoutError


def boot_id() -> str:
    """Give the identity of this boot of the machine the lab runs on."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in brackets may hold spaces and brackets: count from the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


@dataclass(frozen=True)
class Process:
    """A process by number, start time and boot: the three together are unique."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """Name the running process ``pid``."""
        return cls(pid, _start_time(pid) or 0, boot_id())

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.boot == boot_id() and _start_time(self.pid) == self.start


def wait_ended(pid: int, timeout: float) -> None:
    """Wait until the process is gone (or a zombie); :class:`LabTimeoutError` when it is not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        if not waiting.poll(timeout * 1000):
            raise LabTimeoutError(f"process {pid} did not end in {timeout:g} s")
    finally:
        os.close(handle)


def kill_all(pids: Iterable[int], timeout: float = 10) -> None:
    """SIGKILL every process and wait until each is gone."""
    found = list(pids)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in found:
        wait_ended(pid, timeout)
