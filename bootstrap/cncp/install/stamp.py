"""What says that a virtualenv is whole: a module of its own, because most that ask install nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def stamp_path(home: Path) -> Path:
    """Return the file that is there only when the virtualenv is whole."""
    return home / "venv" / "cncp-installed.json"


def of_engines(stamped: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a stamp controller and engines run with.

    What Jupyter needs is installed on top and changes nothing of theirs; only versions that the
    user's own requirements leave open may then be others.
    """
    return {name: value for name, value in stamped.items() if name != "jupyter" or stamped.get("requirements")}
