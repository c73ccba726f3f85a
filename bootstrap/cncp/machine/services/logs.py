"""Where the services' logs are and what their last lines say."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from cncp.errors import CncpError
from cncp.machine.node import Node
from cncp.machine.services.systemd import unit
from cncp.process import run

TAIL = 10
"""Lines of a log in which the last that says something is looked for."""

_LONG = 200  # characters of it that fit into an error of one line


def tail(node: Node, name: str, lines: int) -> list[str]:
    """Return the last ``lines`` lines of a service's log, oldest first."""
    path = node.log_dir / f"{name}.log"
    if node.settings.logs == "files" and path.exists():
        with path.open(errors="replace") as stream:
            return [line.rstrip("\n") for line in deque(stream, maxlen=lines)]
    if node.manager == "systemd":
        scope = [] if node.scope == "system" else ["--user"]
        said = run(["journalctl", *scope, "-n", str(lines), "-o", "short-iso", "-u", unit(node, name)], check=False)
        return said.stdout.splitlines()
    return []


def ending(node: Node, name: str, since: float = 0.0) -> str:
    """Return what to add to an error of a service: how its log ends, of what it has written ``since``, s since 1970."""
    return ends_with(written_since(tail(node, name, TAIL), since))


def written_since(lines: Sequence[str], since: float) -> list[str]:
    """Return the last lines of a log without those of before; a line without a time is of the one above it."""
    kept: list[str] = []
    old = False
    for line in lines:
        with contextlib.suppress(ValueError):
            old = datetime.fromisoformat(line[:19]).timestamp() < int(since)
        kept = [] if old else [*kept, line]
    return kept


def ends_with(lines: Sequence[str]) -> str:
    """Return, from the last lines of a log, what to add to an error: the last that says something."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; its log ends with: {last[:_LONG]}" if last else ""


def following(node: Node, names: Sequence[str], lines: int = TAIL) -> list[str]:
    """Return the command that shows logs as they grow, after their last ``lines``. Raises CncpError without any."""
    if node.settings.logs == "files":
        there = [str(path) for name in names if (path := node.log_dir / f"{name}.log").exists()]
        if not there:
            raise CncpError(f"{node.log_dir / names[0]}.log does not exist yet", "look at: cncp status")
        return ["tail", "-n", str(lines), "-F", *there]
    scope = [] if node.scope == "system" else ["--user"]
    units = [word for name in names for word in ("-u", unit(node, name))]
    return ["journalctl", *scope, "-f", "-n", str(lines), "-o", "short-iso", *units]
