"""What was written where, and what stood there before: the memory that `cncp uninstall` works from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cncp.files import PARENTS, read_bytes
from cncp.machine.actor import Actor
from cncp.machine.resources import Block, Directory, Resource, parents
from cncp.records import Record
from cncp.state_files import StateFile

Made = tuple[str, str]
"""Who owns a path ("login" or "root"), and in what form it was made."""


@dataclass(frozen=True)
class ManifestFile(Record):
    """What is stored of a `Manifest`, whose fields it has."""

    made: Mapping[str, tuple[Literal["login", "root"], Literal["directory", "file", "block", "whole", "link"]]]
    kept: Mapping[str, str]
    modes: Mapping[str, int]
    copies: Mapping[str, str]


STORE = StateFile("manifest.json", ManifestFile, "cncp up notes what it writes from now on", "what was written")


@dataclass
class Manifest:
    """The paths that are ours.

    ``made`` maps each path to who owns it ("login" or "root") and in what form it was made
    (directory, file, block or link); ``kept`` maps paths that others had made before to the
    file that holds their former content; ``modes`` holds former modes of their directories.
    ``copies`` maps files that were given to the user to the SHA-256 they had then.
    """

    path: Path
    made: dict[str, Made] = field(default_factory=dict)
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
                    self.made[str(folder)] = (resource.owner, "directory")
            path = Path(resource.path)
            if resource.path in self.made:
                continue
            if isinstance(resource, Directory) and path.is_dir():
                self.modes.setdefault(resource.path, path.stat().st_mode & 0o7777)
                continue
            if isinstance(resource, Block) and path.exists():
                self.made[resource.path] = (resource.owner, "block")
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
            self.made[resource.path] = (resource.owner, kind)
        self.save(actor)

    def save(self, actor: Actor) -> None:
        """Write the manifest if it changed."""
        written = ManifestFile(self.made, self.kept, self.modes, self.copies)  # type: ignore[arg-type]  # owners and forms
        STORE.save(self.path.parent, written, actor.write)


def whole(path: Path) -> bool:
    """Tell whether there is a manifest that can be read."""
    return STORE.intact(path.parent) is not None


def load(path: Path) -> Manifest:
    """Read the manifest; an empty one where there is none, or only a damaged one."""
    stored = STORE.intact(path.parent) or ManifestFile({}, {}, {}, {})
    above = (read_bytes(path.parent / PARENTS) or b"").decode(errors="surrogateescape").splitlines()
    made: dict[str, Made] = dict.fromkeys(above, ("login", "directory"))
    made.update(stored.made)
    return Manifest(path, made, dict(stored.kept), dict(stored.modes), dict(stored.copies))
