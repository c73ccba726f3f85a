"""Undo everything: what was written goes, what stood there before comes back."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from cncp.console import Console
from cncp.errors import CncpError, plural
from cncp.files import read_bytes
from cncp.machine import manifest, notebooks
from cncp.machine.actor import Actor
from cncp.machine.lifecycle import down
from cncp.machine.manifest import Manifest
from cncp.machine.node import Node
from cncp.machine.resources import split_block
from cncp.machine.services import service_manager
from cncp.machine.steps import manifest_path
from cncp.machine.up import locked

_LEFT_BY_SERVICES = (
    "log/controller.log*",
    "log/controller.out*",
    "log/engine-*.log*",
    "log/engine-*.out*",
    "log/tunnel-*.log*",
    "log/tunnel-*.out*",
    "log/jupyter.log*",
    "log/jupyter.out*",
    "log/engines.json",
    "tasks.db*",
)
"""What our services write into a profile, whoever made it."""

_LEFT_BY_IPYTHON = (
    "pid/*",
    "startup/README",
    "static/custom/*",
    "static/custom",
    "static",
    "db/*",
    "db",
    "history.sqlite*",
)
"""What IPython itself writes into a profile: taken away where the profile was made by us."""


def uninstall(node: Node, console: Console) -> list[str]:
    """Stop and remove all; return paths in our folders that others have put there and that stay."""
    actor = Actor(node.account)
    down(node, console)
    memory = manifest.load(manifest_path(node))
    with locked(node, actor, "cncp uninstall"):
        console.phase(f"removing {plural(len(memory.made), 'path')}")
        for path in sorted(memory.made, reverse=True):
            owner, kind = memory.made[path]
            if kind in ("file", "link"):
                actor.remove(Path(path), owner)
            elif kind in ("block", "whole"):
                _take_block_out(Path(path), kind, actor)
        notebooks.take_back(memory, actor)
        _restore(memory, actor)
        ours = node.profile_dir in memory.made
        for pattern in (*_LEFT_BY_SERVICES, *(_LEFT_BY_IPYTHON if ours else ())):
            for left in sorted(Path(node.profile_dir).glob(pattern), reverse=True):
                actor.remove(left) if not left.is_dir() else actor.rmdir(left)
        service_manager(node, actor).clean_up()
        home = Path(node.home)
        folders = [path for path in memory.made if memory.made[path][1] == "directory"]
        with actor.as_login(), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(home)
    return _folders(folders, memory, actor, home)


def _take_block_out(path: Path, kind: str, actor: Actor) -> None:
    content = read_bytes(path)
    if content is None:
        return
    before, _, after = split_block(content.decode(errors="surrogateescape"))
    if not before:
        # `within` puts an empty line between its block and what follows.
        after = after.removeprefix("\n")
    rest = before + after
    if kind == "whole" and not rest.strip():
        actor.remove(path)
    else:
        actor.write(path, rest.encode(errors="surrogateescape"), path.stat().st_mode & 0o7777)


def _restore(memory: Manifest, actor: Actor) -> None:
    for path, backup in memory.kept.items():
        owner = memory.made.get(path, ["login"])[0]
        former = read_bytes(memory.path.parent / "before" / backup)
        if former is None:
            raise CncpError(f"the former {path} is lost: its copy is gone", "make it again by hand")
        actor.write(Path(path), former, memory.modes.get(path, 0o600), owner)
    for path, mode in memory.modes.items():
        folder = Path(path)
        if path not in memory.kept and folder.is_dir() and folder.stat().st_mode & 0o7777 != mode:
            actor.chmod(folder, mode, "login" if folder.stat().st_uid == actor.account.uid else "root")


def _folders(made: list[str], memory: Manifest, actor: Actor, home: Path) -> list[str]:
    """Remove the folders we made, if they are empty; return those that are not."""
    left = []
    for path in sorted(made, reverse=True):
        if path == str(home) or not Path(path).is_dir():
            continue
        if not actor.rmdir(Path(path), memory.made[path][0]):
            left.append(path)
    return left
