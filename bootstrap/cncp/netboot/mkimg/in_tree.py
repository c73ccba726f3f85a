"""Files of a tree that is to be another machine's root: a link in it leads to where it leads there, never out of it."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from cncp.errors import CncpError

_MOST_LINKS = 40  # as Linux has it, path_resolution(7)
_WHEN = 946_684_800  # s since the epoch: what is put into a tree is of the same date, so that images are the same


class Tree:
    """A folder with a tree. Names are paths from its root, without a slash before them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return where a name leads in the tree, links being followed. Raises CncpError for a circle."""
        left, here, links = list(reversed(PurePosixPath(name).parts)), self.root, 0
        while left:
            part = left.pop()
            if part == "..":
                here = here if here == self.root else here.parent
                continue
            if part in ("/", "."):
                continue
            step = here / part
            if not step.is_symlink():
                here = step
                continue
            links += 1
            if links > _MOST_LINKS:
                raise CncpError(f"{name} of the tree leads in a circle", "mend its symbolic links")
            target = PurePosixPath(os.readlink(step))
            here = self.root if target.is_absolute() else here
            left.extend(reversed(target.parts))
        return here

    def has(self, name: str) -> bool:
        """Tell whether there is something of a name."""
        return self.path(name).exists()

    def text(self, name: str) -> str | None:
        """Return what is in a file, None where there is none."""
        path = self.path(name)
        return path.read_text(errors="surrogateescape") if path.is_file() else None

    def found(self, folder: str, pattern: str) -> list[str]:
        """Return the names of what is in a folder of the tree, by a pattern of the shell's, sorted."""
        where = self.path(folder)
        return sorted(f"{folder}/{path.relative_to(where)}" for path in where.glob(pattern))

    def put(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file, with folders above it that are missing; a link in its place is replaced, not followed."""
        above = self._above(name)
        path = above / PurePosixPath(name).name
        with _as_it_was(above):
            _clear(path)
            path.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
            path.chmod(mode)
            os.utime(path, (_WHEN, _WHEN))

    def change(self, name: str, content: str) -> None:
        """Write a file that is there anew, its mode and owner staying what they are."""
        path = self.path(name)
        path.write_text(content, errors="surrogateescape")
        os.utime(path, (_WHEN, _WHEN))

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link."""
        above = self._above(name)
        path = above / PurePosixPath(name).name
        with _as_it_was(above):
            _clear(path)
            path.symlink_to(target)
            os.utime(path, (_WHEN, _WHEN), follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Take something away, if it is there."""
        above = self.path(str(PurePosixPath(name).parent))
        if above.is_dir():
            with _as_it_was(above):
                _clear(above / PurePosixPath(name).name)

    def take(self, name: str, place: Path) -> None:
        """Move a file out of the tree."""
        path = self.path(name)
        with _as_it_was(path.parent):
            shutil.move(path, place)

    def prune(self, patterns: Iterable[str]) -> None:
        """Take away what fits one of these, as tar(1) would leave it out: a star stands for slashes too."""
        fits = re.compile("|".join(fnmatch.translate(pattern.rstrip("/")) for pattern in patterns)).match
        for folder, folders, files in os.walk(self.root):
            here = Path(folder)
            above = f"/{here.relative_to(self.root)}/" if here != self.root else "/"
            doomed = [name for name in (*folders, *files) if fits(above + name)]
            if doomed:
                folders[:] = [name for name in folders if name not in doomed]
                with _as_it_was(here):
                    for name in doomed:
                        _clear(here / name)

    def _above(self, name: str) -> Path:
        """Return the folder that a name is in, made where it is missing."""
        path = self.path(str(PurePosixPath(name).parent))
        _make(path)
        return path


@contextlib.contextmanager
def _as_it_was(folder: Path) -> Iterator[None]:
    """Have a folder keep its date, so that the same tree becomes the same image."""
    seen = folder.stat()
    yield
    os.utime(folder, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        with _as_it_was(folder.parent):
            folder.mkdir()
            folder.chmod(0o755)
            os.utime(folder, (_WHEN, _WHEN))


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
