"""An archive of the kind that Linux takes for its initramfs ("newc"): the same files make the same bytes.

Format: https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Member:
    """A file (its content), a link (where it points to) or a folder; ``mode`` has its kind, as of ``os.stat``."""

    mode: int
    content: bytes = b""


def file(content: bytes, permissions: int = 0o644) -> Member:
    """Return a file."""
    return Member(stat.S_IFREG | permissions, content)


def link(target: str) -> Member:
    """Return a symbolic link."""
    return Member(stat.S_IFLNK | 0o777, target.encode())


def folder(permissions: int = 0o755) -> Member:
    """Return a folder."""
    return Member(stat.S_IFDIR | permissions)


def archive(members: Mapping[str, Member]) -> bytes:
    """Return the archive of members by their paths, which do not begin with a slash; folders above them are made."""
    whole = dict(members)
    for path in members:
        for parent in PurePosixPath(path).parents:
            whole.setdefault(str(parent), folder())
    whole.pop(".", None)
    entries = [_entry(number, path, whole[path]) for number, path in enumerate(sorted(whole), 1)]
    return b"".join((*entries, _entry(0, "TRAILER!!!", Member(0))))


def _entry(number: int, path: str, member: Member) -> bytes:
    name = path.encode() + b"\0"
    numbers = (number, member.mode, 0, 0, 1, 0, len(member.content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in numbers)
    return _padded(head + name) + _padded(member.content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
