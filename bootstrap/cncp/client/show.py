"""keys.show: which clusters this machine has keys of, without showing any key."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cncp.client.profile import IDENTITY
from cncp.errors import duration
from cncp.files import read_record
from cncp.ipp.connection_file import CLIENT, ENGINE, ClientFile, ConnectionFile, EngineFile
from cncp.records import Record


@dataclass(frozen=True)
class Shown(Record):
    """One connection file: ``holds`` says for whom it is, ``age`` is in s since it was written."""

    profile: str
    holds: str
    key: str
    curve: str
    address: str
    ports: str
    age: float
    private: bool


_FILES: tuple[tuple[str, type[ConnectionFile], str], ...] = (
    (CLIENT, ClientFile, "client"),
    (ENGINE, EngineFile, "engine"),
)

HEADER = ["PROFILE", "FOR", "KEY", "CURVE", "ADDRESS", "PORTS", "AGE"]


def show(ipython: Path, name: str = "") -> list[Shown]:
    """Return the connection files of one profile, or of all."""
    found = []
    for folder in sorted(ipython.glob(f"profile_{name or '*'}")):
        for file, kind, holds in _FILES:
            path = folder / "security" / file
            document = read_record(path, kind)
            if document is not None:
                own = (path.parent / IDENTITY).exists()
                found.append(_shown(path, document, f"{holds} (cluster of this machine)" if own else holds))
    return found


def _shown(path: Path, document: ConnectionFile, holds: str) -> Shown:
    state = path.stat()
    return Shown(
        profile=path.parents[1].name.removeprefix("profile_"),
        holds=holds,
        key=document.fingerprint,
        curve=document.curve_fingerprint,
        address=document.dialled,
        ports=_ranges(sorted(document.ports)),
        age=round(max(0.0, time.time() - state.st_mtime), 1),
        private=not state.st_mode & 0o077,
    )


def _ranges(numbers: list[int]) -> str:
    """Return numbers as 20000-20006,20011."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number <= runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def rows(found: list[Shown]) -> list[list[str]]:
    """Return them as cells of a table."""
    return [
        [row.profile, row.holds, row.key, row.curve or "not encrypted", row.address, row.ports, duration(row.age)]
        for row in found
    ]
