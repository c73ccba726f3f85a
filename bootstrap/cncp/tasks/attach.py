"""attach and console: being there while it runs."""

from __future__ import annotations

import os
import sys

from invoke.context import Context

from cncp.console import Console
from cncp.machine import attach as showing
from cncp.machine import lifecycle, place, prompt
from cncp.machine.node import installed
from cncp.tasks.command import command


@command({"name": "a service, as `status` shows it"})
def attach(context: Context, name: str = "controller") -> None:
    """Attach to a service's tmux or screen session; elsewhere follow its log."""
    node = installed(place.home(os.environ))
    showing.attach(node, lifecycle.chosen(node, [name])[0], Console())


@command({"name": "an engine, as `status` shows it, or HOST/engine-N"})
def console(context: Context, name: str) -> None:
    """Open a prompt in a running engine: its variables are there, what you type runs in it."""
    prompt.console(installed(place.home(os.environ)), name, sys.stdout)


__all__ = ["attach", "console"]
