"""What a running `connect` leaves for others to read: who it is, and what it carries."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from cncp.records import Record
from cncp.state_files import StateFile

UP, BROKEN = "up", "reconnecting"


@dataclass(frozen=True)
class Connected(Record):
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


STORE = StateFile(
    "pid/cncp-connect.json",
    Connected,
    "end it, and begin anew: cncp connect",
    # An earlier version takes no record with a member more.
    stamped=False,
)


def log_in(profile: Path) -> Path:
    """Return where a `connect` in the background writes what it has to say."""
    return profile / "log" / "cncp-connect.log"


def read(profile: Path) -> Connected | None:
    """Return the record of a profile's last `connect`, whether it runs or not."""
    return STORE.intact(profile)


def write(profile: Path, record: Connected) -> None:
    """Leave a record."""
    STORE.path(profile).parent.mkdir(mode=0o700, exist_ok=True)
    STORE.save(profile, record)


def running(ipython: Path, name: str = "") -> list[Connected]:
    """Return the records of all that run, or of one profile's."""
    found = [read(folder) for folder in sorted(ipython.glob(f"profile_{name or '*'}"))]
    return [record for record in found if record is not None and record.alive]


def own_creation() -> float:
    """Return when this process began, s since the epoch."""
    return float(psutil.Process().create_time())


def now() -> float:
    """Return the time, s since the epoch."""
    return round(time.time(), 1)
