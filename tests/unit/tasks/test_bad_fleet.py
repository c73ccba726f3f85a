"""Bad input to the verbs on many machines: a line of what, a line of what to do, no host dialled, nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..refusal import answered, cncp_refused

FILE = """
controller = "gold1"
[[pool]]
hosts = ["gold[1-2]"]
engines = 2
"""

LINES = [
    "up --limit gold3",
    "up --limit gold[2-1]",
    "up --limit ;",
    "up --host-keys never",
    "up --host-keys",
    "up --engines many",
    "up --file missing.toml",
    "up --limit gold1 --file alone.toml",
    "up gold1",
    "plan --limit gold3",
    "plan --host-keys off",
    "plan --limit gold1 --file alone.toml",
    "status --limit gold3",
    "status --limit -x",
    "status --file missing.toml",
    "status --limit gold1 --file alone.toml",
    "logs --limit gold3",
    "logs --lines few",
    "check --limit gold3",
    "check --from-hosts=maybe",
    "scale",
    "scale two",
    "scale -2000",
    "scale 2 3",
    "scale 2000",
    "scale 2 --limit gold3",
    "scale 2 --wait soon",
    "restart --limit gold3",
    "down --limit gold3",
    "uninstall --limit gold3",
    "keys.rotate --yes --file missing.toml",
    "init",
    "init gold[2-",
    "init gold1 gold1",
    "init gold1 --timeout 0",
]

LATER = ["status", "logs", "check", "scale 2", "restart", "down"]
"""Well said, but nothing has been set up yet."""


@pytest.fixture
def home(home: Path) -> Path:
    """A home with the file of a cluster, where ssh would leave a mark."""
    (home / "bin").mkdir()
    for name in ("ssh", "scp", "sftp"):
        program = home / "bin" / name
        program.write_text(f"#!/bin/sh\ntouch {home}/dialled\nexit 255\n")
        program.chmod(0o755)
    (home / "cluster.toml").write_text(FILE)
    (home / "alone.toml").write_text("engines = 1\n")
    return home


def path(home: Path) -> str:
    """Return a search path where ssh leaves a mark."""
    return f"{home}/bin{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("line", LINES)
def test_refused(line: str, home: Path) -> None:
    """What makes no sense is refused before any host is dialled."""
    answered(home, line.split(" "), PATH=path(home))


@pytest.mark.parametrize("line", LATER)
def test_not_yet(line: str, home: Path) -> None:
    """A cluster that was never set up is said to be none."""
    assert "hint: set them up: cncp up" in answered(home, line.split(" "), 1, PATH=path(home))


@pytest.mark.parametrize(("line", "status"), [("up --limit gold3", 2), ("status", 1)])
def test_by_a_program_of_its_own(line: str, status: int, home: Path) -> None:
    """So is it by the command as users start it."""
    cncp_refused(home, line.split(" "), status, PATH=path(home))
