"""The record a service leaves at its start: which process it is and what it was started with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cncp.records import Record
from cncp.state_files import StateFile


@dataclass(frozen=True)
class Process:
    """The process of a service: its id, the digest it was started with, an engine's uuid."""

    pid: int
    digest: str
    uuid: str


@dataclass(frozen=True)
class Started(Record):
    """What is stored of a process; ``started`` is when it started, in clock ticks since boot."""

    pid: int
    started: int
    digest: str
    uuid: str


def store(name: str) -> StateFile[Started]:
    """Return where the record of a service is, in a folder of them."""
    return StateFile(f"{name}.json", Started, "the service writes it again: cncp restart")


GONE = Process(0, "", "")
"""What is said of a service that does not run."""


def started(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), stat field 22); 0 if gone.

    Unlike a time of day it stays the same when the clock is set.
    """
    try:
        # The name in parentheses may hold anything, so what follows the last one is counted.
        after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
    except OSError:
        return 0
    return int(after.split()[19])


def write(run_dir: Path, name: str, digest: str = "", uuid: str = "", pid: int = 0) -> None:
    """Write the record of a process, this one if none is named.

    Not synced to the disk: after a power cut the process is gone as well.
    """
    pid = pid or os.getpid()
    store(name).save(run_dir, Started(pid, started(pid), digest, uuid), _beside)


def _beside(path: Path, content: bytes, mode: int) -> None:
    beside = path.with_suffix(".json.new")
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as stream:
        stream.write(content)
    beside.replace(path)


def read(run_dir: Path, name: str) -> Process:
    """Return the process that a record is of, GONE where it has ended.

    The start time tells a reused pid apart: a stranger is never taken for ours.
    """
    record = store(name).intact(run_dir)
    if record and record.started and started(record.pid) == record.started:
        return Process(record.pid, record.digest, record.uuid)
    return GONE
