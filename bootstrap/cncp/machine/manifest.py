"""What was written where, and what stood there before: the memory that `cncp uninstall` works from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cncp.files import PARENTS, read_bytes, read_shape, to_json
from cncp.machine.actor import Actor
from cncp.machine.resources import Block, Directory, Resource, parents

_Made = tuple[Literal["login", "root"], Literal["directory", "file", "block", "whole", "link"]]
_STORED = {"made": dict[str, _Made], "kept": dict[str, str], "modes": dict[str, int], "copies": dict[str, str]}


@dataclass
class Manifest:
    """The paths that are ours.

    ``made`` maps each path to who owns it ("login" or "root") and in what form it was made
    (directory, file, block or link); ``kept`` maps paths that others had made before to the
    file that holds their former content; ``modes`` holds former modes of their directories.
    ``copies`` maps files that were given to the user to the SHA-256 they had then.
    """

    path: Path
    made: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def claim(self, resources: tuple[Resource, ...], actor: Actor) -> None:
        """Note everything that is about to be written, before any of it is.

        A run that is cut off then leaves nothing behind that we would not know of.
        """
        backups = self.path.parent / "before"
        for resource in resources:
            for folder in parents(resource):
                if not folder.exists() and str(folder) not in self.made:
                    self.made[str(folder)] = [resource.owner, "directory"]
            path = Path(resource.path)
            if resource.path in self.made:
                continue
            if isinstance(resource, Directory) and path.is_dir():
                self.modes.setdefault(resource.path, path.stat().st_mode & 0o7777)
                continue
            if isinstance(resource, Block) and path.exists():
                self.made[resource.path] = [resource.owner, "block"]
                continue
            former = read_bytes(path) if path.is_file() else None
            if former is not None and not isinstance(resource, Block):
                backup = backups / hashlib.sha256(resource.path.encode()).hexdigest()[:16]
                if not backups.is_dir():
                    actor.mkdir(backups, 0o700)
                actor.write(backup, former, 0o600)
                self.kept[resource.path] = backup.name
                self.modes[resource.path] = path.stat().st_mode & 0o7777
            kind = "whole" if isinstance(resource, Block) else type(resource).__name__.lower()
            self.made[resource.path] = [resource.owner, kind]
        self.save(actor)

    def save(self, actor: Actor) -> None:
        """Write the manifest if it changed."""
        content = to_json({"made": self.made, "kept": self.kept, "modes": self.modes, "copies": self.copies})
        if read_bytes(self.path) != content:
            actor.write(self.path, content, 0o600)


def whole(path: Path) -> bool:
    """Tell whether there is a manifest that can be read."""
    return read_shape(path, _STORED) is not None


def load(path: Path) -> Manifest:
    """Read the manifest; an empty one where there is none, or only a damaged one."""
    stored: dict[str, Any] = read_shape(path, _STORED) or {}
    above = (read_bytes(path.parent / PARENTS) or b"").decode(errors="surrogateescape").splitlines()
    made = {folder: ["login", "directory"] for folder in above}
    made.update((name, list(one)) for name, one in stored.get("made", {}).items())
    return Manifest(path, made, *(stored.get(name, {}) for name in ("kept", "modes", "copies")))
