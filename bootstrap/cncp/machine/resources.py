"""What a machine is to hold, as data: directories, files, marked blocks, links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cncp.config.sources import STATIC
from cncp.managed_block import BEGIN, END, split_block


@dataclass(frozen=True)
class Directory:
    """A directory with this mode. One that was there before keeps its content."""

    path: str
    mode: int
    part: str
    owner: str = "login"


@dataclass(frozen=True)
class File:
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


@dataclass(frozen=True)
class Block:
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


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str
    part: str
    owner: str = "login"


Resource = Directory | File | Block | Link


def parents(resource: Resource) -> list[Path]:
    """Return the directories above a resource, outermost first."""
    return list(Path(resource.path).parents)[::-1]
