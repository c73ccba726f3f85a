"""Files that hold one record of ours each: where it is, its type, who may read it, and the version of its form.

Each says by which ``format`` it is to be read and which ``cncp`` wrote it. One without is an earlier version's and read
alike; one of a later format is refused, and not taken for damaged: what a newer version has noted is not to be
written over. Earlier versions take no notice of the two members. Where they would, the file has none
(``stamped``), and a later format of it needs another name. Standard library only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from cncp import __version__
from cncp.errors import CncpError
from cncp.files import read_bytes, to_json, write_atomic
from cncp.records import Odd, Record, fitted, parse

FORMAT = 1

R = TypeVar("R", bound=Record)

Write = Callable[[Path, bytes, int], None]
"""Replaces a file in one step, with a mode."""


class Damaged(CncpError):
    """What is in a file is not what we write there."""


@dataclass(frozen=True)
class StateFile(Generic[R]):
    """A file in a folder: its ``name`` there, and the ``kind`` of record.

    ``remedy`` is what to do where it is damaged, with {path} for the file and {folder} for where it is;
    ``label`` is what it holds, for people.
    """

    name: str
    kind: type[R]
    remedy: str
    label: str = ""
    mode: int = 0o600
    stamped: bool = True

    def path(self, folder: Path) -> Path:
        """Return where it is."""
        return folder / self.name

    def load(self, folder: Path) -> R | None:
        """Return what is stored, None where there is no such file.

        Raises Damaged, and CncpError on a file of a newer format and on one that cannot be read.
        """
        path = self.path(folder)
        try:
            content = read_bytes(path)
        except OSError as error:
            raise CncpError(
                f"{path} cannot be read: {error.strerror}",
                f"it is to be a file of yours: move away what is there, or chown it, and chmod 600 {path}",
            ) from None
        return None if content is None else self._read(path, content)

    def intact(self, folder: Path) -> R | None:
        """Return what is stored, None where there is nothing or only what is damaged: for what is made again."""
        try:
            return self.load(folder)
        except Damaged:
            return None

    def _read(self, path: Path, content: bytes) -> R:
        try:
            members = fitted(dict[str, object], parse(content))
            _refuse_newer(path, members.pop("format", 0), members.pop("cncp", ""))
            return fitted(self.kind, members)
        except Odd as error:
            named = f"{path}, {self.label}," if self.label else str(path)
            remedy = self.remedy.format(path=shlex.quote(str(path)), folder=shlex.quote(str(path.parent)))
            raise Damaged(f"{named} is damaged: {error.told()}", remedy) from None

    def content(self, record: R) -> bytes:
        """Return what is in the file of a record."""
        stamp: dict[str, object] = {"format": FORMAT, "cncp": __version__} if self.stamped else {}
        return to_json({**record.to_json(), **stamp})

    def save(self, folder: Path, record: R | None, write: Write = write_atomic) -> bool:
        """Store a record, or take its file away where it is None; tell whether anything changed."""
        path = self.path(folder)
        if record is None:
            there = path.exists()
            path.unlink(missing_ok=True)
            return there
        content = self.content(record)
        if read_bytes(path) == content and path.stat().st_mode & 0o7777 == self.mode:
            return False
        write(path, content, self.mode)
        return True


def _refuse_newer(path: Path, form: object, version: object) -> None:
    if isinstance(form, bool) or not isinstance(form, int) or form < 0:
        raise Odd("a whole number").inside(".format")
    if form > FORMAT:
        named = isinstance(version, str) and re.fullmatch(r"[0-9A-Za-z.+-]{1,64}", version)
        writer = version if named else "of a later version"
        raise CncpError(
            f"{path} was written by cncp {writer}: its format is {form}, and cncp {__version__} reads up to {FORMAT}",
            f"use that version; or, to go on without what it says: rm {shlex.quote(str(path))}",
        )
