"""Files that are there whole or not at all, and the lock that keeps two runs apart."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cncp.errors import CncpError, UsageError
from cncp.records import Misfit, Record, as_json, read
from cncp.waiting import wait_until

R = TypeVar("R", bound=Record)

PARENTS = "parents"
"""Where ``make_home``, here and in baremetal.sh, notes what it made above: a path a line."""


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content`` in one step, with exactly ``mode``.

    The data is on the disk before the name points to it, so that a power cut leaves the old file
    or the new one. A symbolic link at ``path`` is followed: people keep their configuration in
    repositories; what is no file, such as /dev/null or a pipe, is written into and stays what it is.
    Raises OSError with the old file untouched.
    """
    # Asked before links are followed: what is behind /dev/stdout may have no path.
    if is_special(path):
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    # mkstemp creates at 0600: a secret is never readable by others, not even for a moment.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def is_special(path: Path) -> bool:
    """Tell whether there is a device, a pipe or a socket, which no file may take the place of."""
    return path.exists() and not path.is_file() and not path.is_dir()


def insist_on_file(path: Path) -> None:
    """Raise UsageError where what a user named for a large file cannot become one, or be read again."""
    if is_special(path):
        raise UsageError(f"{path} is no file", "name one with --output")


def make_home(home: Path) -> None:
    """Make the folder that holds all we keep, private, and note in it which folders above were missing.

    An uninstall removes those as well, if nothing else has come to lie in them.
    """
    missing = [str(folder) for folder in home.parents if not folder.is_dir()]
    if not home.is_dir():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(home / PARENTS, "".join(f"{folder}\n" for folder in missing).encode(), 0o600)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes | None:
    """Return the content of ``path``, or None where there is no such file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_record(path: Path, kind: type[R]) -> R | None:
    """Return the record in a file that others write as well; None where there is no file, or something else in it."""
    content = read_bytes(path)
    try:
        return None if content is None else kind.from_json(content, str(path))
    except Misfit:
        return None


def to_json(value: object) -> bytes:
    """Encode a record, or JSON types, the one way we write JSON, so that equal values are equal bytes."""
    return (json.dumps(as_json(value), indent=2, sort_keys=True) + "\n").encode()


class Busy(CncpError):
    """Another process holds a lock."""


@dataclass(frozen=True)
class Holder(Record):
    """Who holds a lock: a process, since when (s since the epoch), and what it does."""

    pid: int
    since: float
    what: str


def holder(path: Path) -> Holder | None:
    """Return who last held a lock, None where nobody has or it cannot be read."""
    return read_record(path, Holder)


_OURS: dict[Path, threading.RLock] = {}
"""For each lock on a file, by which threads of this process wait for each other: the kernel's is the process's."""


@contextlib.contextmanager
def lock(path: Path, operation: str, wait: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` for the length of a ``with`` block.

    The kernel drops the lock with its holder, so a crash leaves nothing to clean up. ``wait`` is
    how many seconds to wait for another process. Raises Busy naming the holder and how long
    it has held it. Threads of this process are no others, and wait for each other.
    """
    with _OURS.setdefault(path, threading.RLock()):
        yield from _held(path, operation, wait)


def _held(path: Path, operation: str, wait: float) -> Iterator[None]:
    # Through no link: what is written is the holder, and root may lock where others can make files.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not wait_until(lambda: _locked(descriptor), wait):
            raise _busy(descriptor, path, operation)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, to_json(Holder(os.getpid(), time.time(), operation)), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(descriptor: int, path: Path, operation: str) -> Busy:
    try:
        held = read(Holder, os.pread(descriptor, 4096, 0), str(path))
        owner = f"{held.what}, process {held.pid}, for {time.time() - held.since:.0f} s"
    except Misfit:
        owner = "another process"
    return Busy(
        f"{operation} cannot start: {path} is held by {owner}",
        "wait for it to end, or stop that process, then run this again",
    )
