"""Files on a host, moved by the host's own tools.

They see what the host sees (its /run, its /tmp, a shared home), and a link means
on the way in what it means there. Writing to the disk from outside would follow
a link such as /var/run out of the host.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from .command import LabError

Own = Callable[[tarfile.TarInfo], tarfile.TarInfo]


class Files(ABC):
    """Reading and writing files, for anything that can run a command as root."""

    name: str

    @abstractmethod
    def exec(
        self,
        argv: Sequence[str],
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root."""

    def read(self, path: str) -> str:
        """Read the text of a file on the host."""
        return self.exec(["cat", "--", path]).stdout

    def exists(self, path: str) -> bool:
        """Whether the host has a file or a folder at ``path``."""
        return self.exec(["test", "-e", path], check=False).returncode == 0

    def write(self, path: str, text: str, owner: str = "root", mode: int = 0o644) -> None:
        """Write a text file on the host; the folders above it are made as needed."""
        content = text.encode()
        entry = tarfile.TarInfo(PurePosixPath(path).name)
        entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
        self._unpack(path, owner, lambda tar, own: tar.addfile(own(entry), io.BytesIO(content)))

    def put(self, src: str | Path, dst: str, owner: str = "root") -> None:
        """Copy a file or a folder to ``dst`` (the copy's own path) on the host."""
        top = PurePosixPath(dst).name
        self._unpack(dst, owner, lambda tar, own: tar.add(src, top, filter=own))

    def _unpack(self, dst: str, owner: str, fill: Callable[[tarfile.TarFile, Own], None]) -> None:
        """Have the host unpack what ``fill`` packs, into the folder above ``dst``."""
        uid, gid = self._ids(owner)

        def own(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid, entry.gid, entry.uname, entry.gname = uid, gid, "", ""
            return entry

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            fill(tar, own)
        above = PurePosixPath(dst).parent
        self._make_folders(above, owner)
        self.exec(["tar", "--extract", "--directory", str(above)], input=packed.getvalue())

    def _make_folders(self, path: PurePosixPath, owner: str) -> None:
        """Make a folder and those above it; the new ones belong to ``owner``."""
        missing = []
        folder = path
        while not self.exists(str(folder)):
            missing.append(str(folder))
            folder = folder.parent
        if missing:
            self.exec(["mkdir", "--parents", str(path)])
            self.exec(["chown", f"{owner}:", *missing])

    def _ids(self, name: str) -> tuple[int, int]:
        """Look up the numbers of a user and of their group on this host."""
        for line in self.read("/etc/passwd").splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2]), int(fields[3])
        raise LabError(f"{self.name} has no user {name}")
