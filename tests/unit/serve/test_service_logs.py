"""Logs of services, whatever others do with the files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.serve.log_files import log_to


@pytest.fixture
def log(tmp_path: Path) -> logging.Logger:
    """The logger of an engine under supervisord."""
    settings = SimpleNamespace(logs="files", log_size=1, log_keep=2)
    node: Any = SimpleNamespace(log_dir=tmp_path / "log", manager="supervisor", settings=settings)
    logger = logging.Logger("engine")  # noqa: LOG001  # not to be found by other tests
    log_to(node, "engine-0", logger)
    return logger


def test_a_log_that_others_move_away_is_made_anew(log: logging.Logger, tmp_path: Path) -> None:
    """Removed, renamed as logrotate does, or with its whole folder: the next line is in a new file of the name."""
    path = tmp_path / "log" / "engine-0.log"
    log.warning("first")
    path.rename(path.with_suffix(".old"))
    log.warning("second")
    assert path.with_suffix(".old").read_text().endswith("first\n")
    assert path.read_text().endswith("second\n")
    assert "first" not in path.read_text()
    path.unlink()
    log.warning("third ü \udc80")
    assert path.read_text(encoding="utf-8").endswith("third ü \\udc80\n")
    shutil.rmtree(path.parent)
    log.warning("fourth")
    assert path.read_text().endswith("fourth\n")
    log.warning("fifth")
    assert len(path.read_text().splitlines()) == 2
    # What tasks print is for the account alone.
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_log_that_cannot_be_written_ends_nothing(log: logging.Logger, tmp_path: Path) -> None:
    """A file where the folder was: the service goes on, and its log when the folder can be made."""
    (tmp_path / "log").write_text("")
    log.warning("lost")
    (tmp_path / "log").unlink()
    log.warning("kept")
    assert (tmp_path / "log" / "engine-0.log").read_text().endswith("kept\n")


def test_a_log_is_still_rotated(log: logging.Logger, tmp_path: Path) -> None:
    """At its size, and only so many old ones are kept."""
    for _ in range(5):
        log.warning("x" * 700_000)
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "engine-0.log",
        "engine-0.log.1",
        "engine-0.log.2",
    ]
    assert (tmp_path / "log" / "engine-0.log").stat().st_size < 1_000_000
