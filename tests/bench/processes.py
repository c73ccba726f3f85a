"""What the processes of a cluster use: memory that is really theirs, and processor time."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

import psutil


def of(folder: Path) -> list[psutil.Process]:
    """Return the processes that name ``folder`` on their command line, except this one.

    Every process of a cluster runs the Python of a virtualenv in there, whoever started it:
    supervisord, systemd or ipcluster.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(str(folder) in word for word in process.cmdline()):
                found.append(process)
    return found


def memory(processes: list[psutil.Process]) -> float:
    """Return their proportional set size in MB: a page that n processes share counts 1/n for each."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def peak(pid: int) -> float:
    """Return the most memory that a process has had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def seconds(processes: list[psutil.Process]) -> float:
    """Return the processor time they and the children they have waited for have used."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            used = process.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total


def end(folder: Path, patience: float = 10.0) -> int:
    """End what still runs in ``folder``; return how many processes that were."""
    left = of(folder)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=patience)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(left)


def wait_for_quiet(patience: float) -> float:
    """Wait until other work leaves the processors alone, ``patience`` seconds at most.

    Returns the share of the machine that was in use at the end, from 0 to 1.
    """
    deadline = time.monotonic() + patience
    while True:
        busy = psutil.cpu_percent(interval=0.5) / 100
        if busy < 0.1 or time.monotonic() > deadline:
            return busy
