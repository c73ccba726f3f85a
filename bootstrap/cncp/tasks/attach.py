"""attach, console and interrupt: being there while it runs."""

from __future__ import annotations

import os
import sys

from invoke.context import Context

from cncp import accounts
from cncp.console import Console
from cncp.errors import UsageError
from cncp.machine.node import Node, installed
from cncp.machine.ops import attach as showing
from cncp.machine.ops import interrupt as interrupting
from cncp.machine.ops import lifecycle, repl
from cncp.machine.services.kinds import split
from cncp.tasks import fleet as fleets
from cncp.tasks.options import HOSTS
from cncp.tasks.task import command


@command({"name": "a service, as `status` shows it"}, takes="name")
def attach(context: Context, name: str = "controller") -> None:
    """Attach to a service's tmux or screen session; elsewhere follow its log."""
    node = installed(accounts.home(os.environ))
    showing.attach(node, lifecycle.one(node, name), Console())


@command({"name": "an engine, as `status` shows it, or HOST/engine-N; the only one without"}, takes="name")
def console(context: Context, name: str = "") -> None:
    """Open a prompt in a running engine: its variables are there, what you type runs in it."""
    node = installed(accounts.home(os.environ))
    repl.console(node, name or _only_engine(node), sys.stdout)


@command(
    {
        "file": HOSTS["file"],
        "name": "engines, as `status` shows them, or HOST/engine-N, with commas; without, the one that is busy",
        "all": "every engine of the cluster",
    },
    takes="name",
)
def interrupt(context: Context, name: str = "", all: bool = False, file: str | None = None) -> None:
    """Interrupt the task that an engine computes (SIGINT): it ends with KeyboardInterrupt, variables stay."""
    console = Console()
    home = accounts.home(os.environ)
    asked = fleets.asked(file)
    hosts = fleets.inventory(asked)
    if hosts is not None and not hosts.controller.local:
        # Only the controller's machine has the way to all engines.
        words = [*([f"--name={name}"] if name else []), *(["--all"] if all else [])]
        fleets.interrupt(fleets.scene(asked, hosts, hosts.controller.name), console, words)
        return
    for one in interrupting.interrupt(installed(home), name, everyone=all):
        console.say(one.line())


def _only_engine(node: Node) -> str:
    """Return the engine that is meant where none is named. Raises UsageError where it could be another."""
    engines = [service for service in node.services if split(service)[0] == "engine"]
    if len(engines) == 1:
        return engines[0]
    known = f"engines of this machine: {', '.join(engines)}" if engines else "as HOST/engine-0; see cncp status"
    raise UsageError("console needs an engine", f"name one: {known}")


__all__ = ["attach", "console", "interrupt"]
