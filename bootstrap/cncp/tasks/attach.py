"""attach and console: being there while it runs."""

from __future__ import annotations

import os
import sys

from invoke.context import Context

from cncp import accounts
from cncp.console import Console
from cncp.errors import UsageError
from cncp.machine.node import Node, installed
from cncp.machine.ops import attach as showing
from cncp.machine.ops import lifecycle, repl
from cncp.machine.services.kinds import split
from cncp.tasks.task import command


@command({"name": "a service, as `status` shows it"}, takes="name")
def attach(context: Context, name: str = "controller") -> None:
    """Attach to a service's tmux or screen session; elsewhere follow its log."""
    node = installed(accounts.home(os.environ))
    showing.attach(node, lifecycle.service(node, name), Console())


@command({"name": "an engine, as `status` shows it, or HOST/engine-N; the only one without"}, takes="name")
def console(context: Context, name: str = "") -> None:
    """Open a prompt in a running engine: its variables are there, what you type runs in it."""
    node = installed(accounts.home(os.environ))
    repl.console(node, name or _only_engine(node), sys.stdout)


def _only_engine(node: Node) -> str:
    """Return the engine that is meant where none is named. Raises UsageError where it could be another."""
    engines = [service for service in node.services if split(service)[0] == "engine"]
    if len(engines) == 1:
        return engines[0]
    known = f"engines of this machine: {', '.join(engines)}" if engines else "as HOST/engine-0; see cncp status"
    raise UsageError("console needs an engine", f"name one: {known}")


__all__ = ["attach", "console"]
