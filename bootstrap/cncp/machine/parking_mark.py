"""The mark by which engines wait that are not to compute: their service looks for it before it imports anything."""

from __future__ import annotations

import math
from pathlib import Path

from cncp.waiting import wait_until

_EVERY = 1.0  # s between looks


def mark(run_dir: Path) -> Path:
    """Return the file that has engines wait; it says why."""
    return run_dir / "parked"


def wait(run_dir: Path) -> None:
    """Return once engines may begin."""
    wait_until(lambda: not mark(run_dir).exists(), math.inf, _EVERY)
