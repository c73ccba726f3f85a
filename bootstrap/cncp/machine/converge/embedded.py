"""The embedded engine of convergence: compare, say what differs, change only that."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.files import read_bytes
from cncp.machine.actor import Actor
from cncp.machine.resources import Block, Directory, File, Link, Resource


@dataclass(frozen=True)
class Change:
    """A difference between what is and what is to be. ``diff`` is for people."""

    path: str
    what: str
    diff: str
    resource: Resource


def changes(resources: Sequence[Resource]) -> list[Change]:
    """Return what differs, in the order it has to be changed in. Changes nothing.

    Raises CncpError where something stands in the place of a file and is none.
    """
    found: list[Change] = []
    for resource in resources:
        try:
            found += _compare(resource)
        except OSError as error:
            raise CncpError(
                f"{resource.path} cannot be read: {error.strerror or error}",
                "move away what is there, then run this again",
            ) from None
    return found


def apply(found: Sequence[Change], actor: Actor) -> None:
    """Make every change. Raises CncpError at the first that cannot be made."""
    for change in found:
        try:
            _apply(change.resource, actor)
        except OSError as error:
            raise CncpError(
                f"{change.path} cannot be written: {error.strerror or error}",
                "make room or mend the permissions, then run cncp up again",
            ) from None


def remove(paths: Sequence[str], actor: Actor) -> None:
    """Remove files and links that are no longer wanted."""
    for path in paths:
        actor.remove(Path(path))


def _compare(resource: Resource) -> Iterator[Change]:
    path = Path(resource.path)
    if isinstance(resource, Link):
        actual = os.readlink(path) if path.is_symlink() else None
        if actual != resource.target:
            yield Change(resource.path, "link", f"-> {resource.target}", resource)
        return
    status = path.stat() if path.exists() else None
    mode = None if status is None else status.st_mode & 0o7777
    if isinstance(resource, Directory):
        if status is None:
            yield Change(resource.path, "create directory", f"mode {resource.mode:04o}", resource)
        elif mode is not None and _too_open(mode, resource):
            yield Change(resource.path, "mode", f"{mode:04o} -> {resource.mode:04o}", resource)
        return
    before = (read_bytes(path) or b"").decode(errors="surrogateescape")
    after = resource.within(before) if isinstance(resource, Block) else resource.text()
    if before != after or status is None:
        what = "create file" if status is None else "change file"
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "is", "to be", lineterm="", n=1)
        yield Change(resource.path, what, "\n".join(lines), resource)
    elif isinstance(resource, File) and mode is not None and mode != resource.mode:
        yield Change(resource.path, "mode", f"{mode:04o} -> {resource.mode:04o}", resource)


def _too_open(mode: int, resource: Directory) -> bool:
    """A directory may be closed further by its owner, but not be more open than wanted."""
    return bool(mode & ~resource.mode)


def _apply(resource: Resource, actor: Actor) -> None:
    path = Path(resource.path)
    if not path.parent.is_dir():
        for folder in reversed([path.parent, *path.parent.parents]):
            if not folder.is_dir():
                actor.mkdir(folder, 0o755)
    if isinstance(resource, Link):
        actor.link(path, resource.target)
    elif isinstance(resource, Directory):
        if path.is_dir():
            actor.chmod(path, resource.mode)
        else:
            actor.mkdir(path, resource.mode)
    elif isinstance(resource, File):
        actor.write(path, resource.text().encode(), resource.mode)
    else:
        before = read_bytes(path)
        mode = path.stat().st_mode & 0o7777 if before is not None else 0o644
        text = resource.within((before or b"").decode(errors="surrogateescape"))
        actor.write(path, text.encode(errors="surrogateescape"), mode)
