"""A file in the place of a disk, which leaves neither its device nor those of its partitions.

The kernel of a test's machine may read no GPT: it is told what is on the disk, by programs that do.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cncp.waiting import wait_until

REREAD = 'reread() { /usr/bin/partx -d "$1" 2> /dev/null || :; /usr/bin/partx -a "$1"; }\n'
"""The same for Blancmange's own programs, in the place of theirs."""


class LoopDisk:
    """Such a disk, empty; ``device`` is what programs know it by."""

    def __init__(self, path: Path, mib: int) -> None:
        self.path = path
        with path.open("wb") as disk:
            disk.truncate(mib << 20)
        done = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=True)
        self.device = done.stdout.strip()

    def partitions(self) -> list[Path]:
        """Return the devices of the partitions that the kernel knows."""
        return sorted(Path("/dev").glob(f"{Path(self.device).name}p*"))

    def know(self) -> None:
        """Have the kernel know what is on the disk now, once whatever was mounted of it is gone."""
        self._forget()
        subprocess.run(["partx", "-a", self.device], check=False, capture_output=True)

    def end(self) -> None:
        """Have it be no device, once whatever was mounted of it is gone."""
        self._forget()
        subprocess.run(["losetup", "-d", self.device], check=True)

    def _forget(self) -> None:
        assert wait_until(self._free, 20), f"something of {self.device} is still mounted"
        subprocess.run(["partx", "-d", self.device], check=False, capture_output=True)

    def _free(self) -> bool:
        """Tell whether nothing of it is mounted: what a mount namespace has ends a moment after its last process."""
        for path in self.partitions():
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
            except OSError:
                return False
        return True


@contextlib.contextmanager
def loop_disk(path: Path, mib: int) -> Iterator[LoopDisk]:
    """Have one for the length of a ``with`` block."""
    disk = LoopDisk(path, mib)
    try:
        yield disk
    finally:
        disk.end()
