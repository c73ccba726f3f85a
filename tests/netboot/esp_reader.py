"""An ESP as firmware of UEFI reads it: a FAT32, and in that the program that is booted by itself."""

from __future__ import annotations

import struct

LOADER = ("EFI", "BOOT", "BOOTX64 EFI")
"""Where it looks, in FAT's spelling."""


class NoFileSystemError(Exception):
    """It is no FAT32 that can be read."""


class Esp:
    """One, of its bytes; what they lack at their end is none that is asked for."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        if content[510:512] != b"\x55\xaa" or content[82:90] != b"FAT32   ":
            raise NoFileSystemError(content[82:90])
        (sector,) = struct.unpack_from("<H", content, 11)
        per_cluster, reserved, fats = struct.unpack_from("<BHB", content, 13)
        total, per_fat = struct.unpack_from("<II", content, 32)
        (self._root,) = struct.unpack_from("<I", content, 44)
        self._cluster = sector * per_cluster
        self._fat, self._data = sector * reserved, sector * (reserved + fats * per_fat)
        self.clusters = (total - reserved - fats * per_fat) // per_cluster
        """How many it says that it has: by these a FAT is FAT12, FAT16 or FAT32."""
        self.per_fat = per_fat * sector // 4

    def loader(self) -> bytes | None:
        """Return what UEFI boots, or None where it finds nothing."""
        cluster, size = self._root, 0
        for name in LOADER:
            entries = self._chain(cluster)
            listed = (entries[start : start + 32] for start in range(0, len(entries), 32))
            found = [entry for entry in listed if entry[:11] == f"{name:<11}".encode()]
            if not found:
                return None
            high, low, size = struct.unpack("<H4xHI", found[0][20:])
            cluster = high << 16 | low
        return self._chain(cluster)[:size]

    def _chain(self, cluster: int) -> bytes:
        found = b""
        while cluster < 0x0FFFFFF8:
            if not 2 <= cluster < self.clusters + 2:
                raise NoFileSystemError(f"the cluster {cluster} in a chain")
            start = self._data + (cluster - 2) * self._cluster
            found += self._content[start : start + self._cluster]
            cluster = struct.unpack_from("<I", self._content, self._fat + 4 * cluster)[0] & 0x0FFFFFFF
        return found


def loader(content: bytes) -> bytes | None:
    """Return what UEFI boots of an ESP, or None where it finds nothing or no file system."""
    try:
        return Esp(content).loader()
    except NoFileSystemError:
        return None
