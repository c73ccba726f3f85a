"""What a running `connect` leaves for others to read: who it is, and what it carries."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from cncp.files import read_shape, to_json, write_atomic

UP, BROKEN = "up", "reconnecting"


@dataclass(frozen=True)
class Record:
    """One `connect`: its process, the way it keeps open, and how that is now.

    ``created`` tells its process from a later one of the same number; ``since`` is when its state
    began; ``ports`` are those here in the order of the channels.
    """

    pid: int
    created: float
    profile: str
    host: str
    remote_profile: str
    ports: tuple[int, ...]
    state: str
    since: float
    reconnected: int
    ssh: int
    said: str

    @property
    def alive(self) -> bool:
        """Whether that process still runs."""
        with contextlib.suppress(psutil.Error):
            return abs(psutil.Process(self.pid).create_time() - self.created) < 1
        return False

    def document(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "ports": list(self.ports)}


def path_in(profile: Path) -> Path:
    """Return where the record of a profile is."""
    return profile / "pid" / "cncp-connect.json"


def log_in(profile: Path) -> Path:
    """Return where a `connect` in the background writes what it has to say."""
    return profile / "log" / "cncp-connect.log"


def read(profile: Path) -> Record | None:
    """Return the record of a profile's last `connect`, whether it runs or not."""
    found: Record | None = read_shape(path_in(profile), Record)
    return found


def write(profile: Path, record: Record) -> None:
    """Leave a record."""
    path_in(profile).parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path_in(profile), to_json(record.document()), 0o600)


def running(ipython: Path, name: str = "") -> list[Record]:
    """Return the records of all that run, or of one profile's."""
    found = [read(folder) for folder in sorted(ipython.glob(f"profile_{name or '*'}"))]
    return [one for one in found if one is not None and one.alive]


def own_creation() -> float:
    """Return when this process began, s since the epoch."""
    return float(psutil.Process().create_time())


def now() -> float:
    """Return the time, s since the epoch."""
    return round(time.time(), 1)
