"""Being shown what a service says as it says it: its session, its log file or the journal."""

from __future__ import annotations

import os
import sys

from cncp.console import Console
from cncp.errors import CncpError
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.services import logs, service_manager
from cncp.process import become


def attach(node: Node, name: str, console: Console) -> None:
    """Become the program that shows a service. Does not return. Raises CncpError."""
    manager = service_manager(node, Actor(node.account))
    if not manager.leave:
        become(logs.following(node, [name]))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CncpError(
            f"{node.manager} needs a terminal to attach to {name}",
            f"run this in one (ssh -t), or look at: cncp logs --name {name} --follow",
        )
    words = manager.attach_command(name)
    console.note(f"leave with {manager.leave}; Ctrl-C would end {name}")
    # Ours is a server of its own: no nesting of the user's.
    os.environ.pop("TMUX", None)
    become(words)
