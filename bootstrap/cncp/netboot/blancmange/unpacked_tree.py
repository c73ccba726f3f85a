"""What Blancmange is made from: a folder with Debian's files, whose programs run with the libraries that are in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cncp.errors import CncpError
from cncp.process import CommandError, Completed, run

_LOADER, _LIBRARIES = "usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"
_HINT = "see packages in Blancmange's top_config.toml"


class UnpackedTree:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str) -> bytes:
        """Return what a file holds. Raises CncpError."""
        return self.path(name).read_bytes()

    def path(self, name: str) -> Path:
        """Return where a file is. Raises CncpError."""
        path = self.folder / name.lstrip("/")
        if not path.exists():
            raise CncpError(f"no package of Blancmange's has {name}", _HINT)
        return path

    def run(self, program: str, *arguments: str | os.PathLike[str]) -> Completed:
        """Run a program of the tree, whatever this machine has. Raises CncpError."""
        return run([*self._loader(), self.path(program), *arguments], hint=_HINT)

    def libraries(self, program: str) -> Iterator[str]:
        """Yield the libraries that a program needs, and what loads them, as paths. Raises CncpError."""
        if b"\0.interp\0" not in self.file(program):
            return
        try:
            listed = run([*self._loader(), "--list", self.path(program)], hint=_HINT).stdout
        except CommandError as error:
            raise CncpError(f"{program} lacks a library: {error}", _HINT) from None
        if missing := re.findall(r"(\S+) => not found", listed):
            raise CncpError(f"{program} needs {', '.join(missing)}, which no package has", _HINT)
        yield _LOADER
        yield from re.findall(rf"=> {re.escape(str(self.folder))}/(\S+)", listed)

    def _loader(self) -> list[str | os.PathLike[str]]:
        return [self.path(_LOADER), "--library-path", self.path(_LIBRARIES)]

    @property
    def modules(self) -> Path:
        """The folder with that kernel's modules. Raises CncpError."""
        return self.path(f"usr/lib/modules/{self.kernel}")

    @property
    def kernel(self) -> str:
        """The version of the kernel that is in it. Raises CncpError."""
        found = [path.name.removeprefix("vmlinuz-") for path in (self.folder / "boot").glob("vmlinuz-*")]
        if len(found) != 1:
            raise CncpError(f"Blancmange's packages have {len(found)} kernels", _HINT)
        return found[0]
