"""Commands that are refused: two lines of what is wrong and what to do, and nothing changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every path below a folder with its mode and the time it last changed."""
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def refused(home: Path, argv: Sequence[str | Path], status: int, **variables: str) -> str:
    """Run a command in a home, hold that it refuses and changes nothing there, and return what it said."""
    before = tree(home)
    done = subprocess.run(
        argv,
        cwd=home,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert tree(home) == before
    return done.stderr


def cncp_refused(home: Path, words: Sequence[str], status: int = 2, **variables: str) -> str:
    """Do the same with a command line of cncp."""
    argv = [sys.executable, "-m", "cncp", *words]
    return refused(home, argv, status, PYTHONPATH=str(ROOT / "bootstrap"), PYTHONDONTWRITEBYTECODE="1", **variables)
