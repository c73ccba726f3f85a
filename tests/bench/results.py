"""Results: samples of both sides, their medians, and how they are written."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from tests.bench import ROOT


@dataclass
class Row:
    """One quantity of ours beside theirs; smaller is better in all of them.

    ``aim`` is what the ratio ours / theirs should be at most or, with ``absolute``, ours itself.
    """

    point: str
    what: str
    unit: str
    against: str = ""
    aim: float | None = None
    absolute: bool = False
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    skipped: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours / theirs, of the medians."""
        if not self.ours or not self.theirs or not statistics.median(self.theirs):
            return None
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def verdict(self) -> str:
        """Whether the aim was met; never more than a word, because the machine has its say in it."""
        reached = statistics.median(self.ours) if self.absolute and self.ours else self.ratio
        if self.aim is None or reached is None:
            return ""
        return f"{'met' if reached <= self.aim else 'missed'} (<= {self.aim:.2f}{f' {self.unit}' * self.absolute})"

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        busy = f"{max(self.busy):.0%}" if self.busy else ""
        ours, theirs = _cell(self.ours), self.skipped or _cell(self.theirs)
        return self.point, self.what, self.unit, ours, theirs, self.against, ratio, self.verdict, busy

    def document(self) -> dict[str, Any]:
        """Return it as JSON types, with its median and ratio."""
        medians = {
            "ours_median": statistics.median(self.ours) if self.ours else None,
            "theirs_median": statistics.median(self.theirs) if self.theirs else None,
        }
        return {**asdict(self), **medians, "ratio": self.ratio}


def _cell(samples: list[float]) -> str:
    """Show a median and, of several samples, their range."""
    if not samples:
        return ""
    middle = _number(statistics.median(samples))
    return middle if len(samples) == 1 else f"{middle} ({_number(min(samples))}..{_number(max(samples))})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


HEADER = ("point", "what", "unit", "ours", "theirs", "against", "ratio", "aim", "busy")
"""``busy``: the largest share of the machine that other work had just before a sample."""


def machine() -> dict[str, Any]:
    """Say on what and with what was measured."""
    described = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    names = ("ipyparallel", "ipython", "pyzmq", "supervisor")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": described.stdout.strip(),
        "load": [round(value, 2) for value in os.getloadavg()],
        **{name: metadata.version(name) for name in names},
    }
