"""Undo everything: what was written goes, what stood there before comes back."""

from __future__ import annotations

import os
from pathlib import Path

from cncp import accounts
from cncp.config.sources import SOURCE
from cncp.console import Console
from cncp.errors import CncpError, plural
from cncp.machine import removal
from cncp.machine.actor import Actor
from cncp.machine.node import Node, installed
from cncp.machine.ops import bare_uninstall
from cncp.machine.ops.apply import locked, require_root
from cncp.machine.ops.lifecycle import down
from cncp.machine.services import service_manager


def of_home(home: Path, console: Console) -> list[str]:
    """Uninstall the cluster in ``home``, whatever is left of it. Raises CncpError where there is nothing."""
    try:
        node = installed(home)
    except CncpError:
        if not home.is_dir():
            raise
        # Set up half, or its record is damaged: what can be seen to be its goes.
        return bare_uninstall.uninstall(home, accounts.account(os.environ), console)
    return uninstall(node, console)


def uninstall(node: Node, console: Console) -> list[str]:
    """Stop and remove all; return what others have put into our folders, which stays."""
    actor = Actor(node.account)
    require_root(node, "uninstall")
    down(node, console)
    if node.rendezvous == "owner":
        # As for `down`.
        from cncp.machine.ops import inviting

        inviting.forget(node, console)
    bare_uninstall.end_tellers(Path(node.home), node.account.uid)
    home, profile = Path(node.home), Path(node.profile_dir)
    own = Path(node.account.home)
    memory = removal.remembered(home, own, {profile.parent, own / ".ipython"}, SOURCE / "notebooks", console.warn)
    with locked(node, "cncp uninstall"):
        console.phase(f"removing {plural(len(memory.made), 'path')}")
        removal.written(memory, [profile], actor)
        service_manager(node, actor).clean_up()
        console.phase(f"removing {home}")
        return removal.folders(memory, home, actor)
