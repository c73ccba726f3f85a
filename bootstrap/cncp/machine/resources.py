"""What a machine is to hold, as data: directories, files, marked blocks, links.

Each of the four says how what is there differs from it, makes it so, and describes itself to Chef.
"""

from __future__ import annotations

import difflib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cncp.config.sources import STATIC
from cncp.errors import CncpError
from cncp.files import read_bytes
from cncp.managed_block import BEGIN, END, split_block
from cncp.records import Record

if TYPE_CHECKING:
    from cncp.machine.actor import Actor


@dataclass(frozen=True)
class Difference:
    """What has to be done to what is there: in words, and in detail, for people."""

    action: str
    diff: str


@dataclass(frozen=True)
class Entry(Record):
    """A resource as the cookbook is told of it; it has no ``target``, mode or content where there is none."""

    path: str
    owner: str
    part: str
    kind: str
    mode: str = ""
    source: str = ""
    content: str | None = None
    target: str = ""

    def to_json(self) -> dict[str, object]:
        """Leave out what there is none of; the content of a file may be empty."""
        members = super().to_json()
        return {name: value for name, value in members.items() if value or (name == "content" and value is not None)}


class Resource(ABC):
    """Something at a path. ``part`` is what it belongs to, ``owner`` who is to have it: "login", or "root"."""

    path: str
    part: str
    owner: str

    @abstractmethod
    def difference(self) -> Difference | None:
        """Return how what is there differs; None where it does not. Raises OSError where it cannot be read."""

    @abstractmethod
    def make(self, actor: Actor) -> None:
        """Make it so; the folder that it stands in is there. Raises OSError."""

    @abstractmethod
    def chef(self) -> Entry:
        """Return it for the cookbook, as it is to be beside what is there now."""

    def apply(self, actor: Actor) -> None:
        """Make it so, after the folders above it. Raises OSError."""
        for folder in parents(self):
            if not folder.is_dir():
                actor.mkdir(folder, 0o755)
        self.make(actor)

    def mode_there(self) -> int | None:
        """Return the mode of what is there, None where nothing is."""
        path = Path(self.path)
        return path.stat().st_mode & 0o7777 if path.exists() else None

    def entry(self, kind: str, **more: str) -> Entry:
        """Return what Chef is told of every resource, and what of this one."""
        return Entry(self.path, self.owner, self.part, kind, **more)


@dataclass(frozen=True)
class Directory(Resource):
    """A directory with this mode. One that was there before keeps its content.

    Its owner may have closed it further; it is not to be more open than this.
    """

    path: str
    mode: int
    part: str
    owner: str = "login"

    def difference(self) -> Difference | None:
        """Compare the mode."""
        there = self.mode_there()
        if there is None:
            return Difference("create directory", f"mode {self.mode:04o}")
        return _of_mode(there, self.mode) if there & ~self.mode else None

    def make(self, actor: Actor) -> None:
        """Make it, or set its mode."""
        path = Path(self.path)
        if path.is_dir():
            actor.chmod(path, self.mode)
        else:
            actor.mkdir(path, self.mode)

    def chef(self) -> Entry:
        """Leave closed what its owner has closed."""
        there = self.mode_there()
        return self.entry("directory", mode=f"{self.mode if there is None else self.mode & there:04o}")


@dataclass(frozen=True)
class File(Resource):
    """A file with exactly this content.

    ``source`` names a file under cookbooks/cncp/files/; where it is empty, ``content`` is it.
    """

    path: str
    mode: int
    part: str
    source: str = ""
    content: str = ""
    owner: str = "login"

    def text(self) -> str:
        """Return what the file is to hold."""
        return (STATIC / self.source).read_text() if self.source else self.content

    def difference(self) -> Difference | None:
        """Compare the content, then the mode."""
        there = self.mode_there()
        found = _of_text(_read(self.path), self.text(), new=there is None)
        return found or (_of_mode(there, self.mode) if there is not None and there != self.mode else None)

    def make(self, actor: Actor) -> None:
        """Write it."""
        actor.write(Path(self.path), self.text().encode(), self.mode)

    def chef(self) -> Entry:
        """Name the source, which the cookbook has as well."""
        content = {"source": self.source} if self.source else {"content": self.content}
        return self.entry("file", mode=f"{self.mode:04o}", **content)


@dataclass(frozen=True)
class Block(Resource):
    """A marked part at the top of a file that otherwise belongs to the user."""

    path: str
    part: str
    source: str
    owner: str = "login"

    def within(self, existing: str) -> str:
        """Return ``existing`` with the marked part in it, in its place or else at the top."""
        block = f"{BEGIN}\n{(STATIC / self.source).read_text()}{END}\n"
        before, found, after = split_block(existing)
        if not found:
            return block + ("\n" + existing if existing else "")
        return before + block + after

    def difference(self) -> Difference | None:
        """Compare the whole file; its mode is the user's."""
        existing = _read(self.path)
        return _of_text(existing, self.within(existing), new=self.mode_there() is None)

    def make(self, actor: Actor) -> None:
        """Write the whole file, byte for byte but for the part."""
        there = self.mode_there()
        text = self.within(_read(self.path))
        actor.write(Path(self.path), text.encode(errors="surrogateescape"), 0o644 if there is None else there)

    def chef(self) -> Entry:
        """Be a file to Chef, which knows text alone. Raises CncpError where that would not keep what is there."""
        existing = read_bytes(Path(self.path)) or b""
        try:
            content = self.within(existing.decode())
        except UnicodeDecodeError:
            raise CncpError(
                f"{self.path} is not UTF-8 text, which Chef could not keep as it is",
                "save the file as UTF-8, or use --converge embedded",
            ) from None
        return self.entry("file", mode=f"{self.mode_there() or 0o644:04o}", content=content)


@dataclass(frozen=True)
class Link(Resource):
    """A symbolic link."""

    path: str
    target: str
    part: str
    owner: str = "login"

    def difference(self) -> Difference | None:
        """Compare the target."""
        path = Path(self.path)
        there = os.readlink(path) if path.is_symlink() else None
        return None if there == self.target else Difference("link", f"-> {self.target}")

    def make(self, actor: Actor) -> None:
        """Make or replace it."""
        actor.link(Path(self.path), self.target)

    def chef(self) -> Entry:
        """Name the target."""
        return self.entry("link", target=self.target)


def parents(resource: Resource) -> list[Path]:
    """Return the directories above a resource, outermost first."""
    return list(Path(resource.path).parents)[::-1]


def _read(path: str) -> str:
    """Return what is there, whatever bytes it has, as a text that becomes them again."""
    return (read_bytes(Path(path)) or b"").decode(errors="surrogateescape")


def _of_text(there: str, wanted: str, *, new: bool) -> Difference | None:
    if there == wanted and not new:
        return None
    lines = difflib.unified_diff(there.splitlines(), wanted.splitlines(), "is", "to be", lineterm="", n=1)
    return Difference("create file" if new else "change file", "\n".join(lines))


def _of_mode(there: int, wanted: int) -> Difference:
    return Difference("mode", f"{there:04o} -> {wanted:04o}")
