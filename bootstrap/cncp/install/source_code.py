"""The code kept with the cluster: a checkout may be moved or deleted, and the cluster goes on.

What runs from CNCP_HOME/code is a copy of what provisioning needs of the checkout that baremetal.sh
was started in, or of the package that pip or uv has installed. Started there again, what was edited or
upgraded in the meantime comes over.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cncp.config.sources import INSTALLED, SOURCE
from cncp.errors import CncpError
from cncp.files import lock, read_bytes
from cncp.process import run
from cncp.surroundings import GIT

DIGEST = ".digest"
"""As on hosts to which another machine sends the code (`ssh.bare_host`): the digest of its archive."""

CODE = ("baremetal.sh", "bootstrap", "cookbooks", "notebooks", "roles")
"""What provisioning needs of the repository; a lone baremetal.sh clones the same."""

TIME = 315532800
"""1980-01-01, the time of every member: the earliest that all archives can hold."""


@dataclass(frozen=True)
class Code:
    """The files of a checkout, each with its mode, and the digest of all of them."""

    files: Mapping[str, tuple[bytes, int]]
    digest: str

    def bring(self, home: Path) -> bool:
        """Have these files, and no others, in ``home``, in one step; return whether they were not there."""
        folder = kept(home)
        with lock(home / "code.lock", "getting the code", wait=60):
            new, old = folder.with_name("code.new"), folder.with_name("code.old")
            if not folder.exists() and old.exists():
                # Cut off between two renames.
                old.rename(folder)
            if self._there(folder):
                return False
            shutil.rmtree(new, ignore_errors=True)
            for name, (content, mode) in self.files.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(mode)
            (new / DIGEST).write_text(self.digest)
            new.chmod(0o700)
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        return True

    def _there(self, folder: Path) -> bool:
        """Compare the files themselves: what somebody has removed or edited there comes back."""
        return read_bytes(folder / DIGEST) == self.digest.encode() and all(
            read_bytes(folder / name) == content for name, (content, _) in self.files.items()
        )


def kept(home: Path) -> Path:
    """Return where the code of the cluster in ``home`` is kept."""
    return home / "code"


def runs_from(home: Path) -> Path:
    """Return where the code of the cluster in ``home`` runs from, once this code has brought it up."""
    return kept(home) if INSTALLED else SOURCE


def of_package(home: Path) -> Code | None:
    """Return the code that a package that is installed brings to ``home``; None where this is none."""
    return read(SOURCE, home) if INSTALLED else None


def insist(home: Path) -> None:
    """Raise CncpError where the cluster in ``home`` runs from another version's code than this package's.

    What it is to run is said of the code that is here, and done with that which is there.
    """
    package = of_package(home)
    if package is not None and read_bytes(kept(home) / DIGEST) != package.digest.encode():
        raise CncpError(
            f"the cluster in {home} runs the code of another version than this cncp's", "bring this one's over: cncp up"
        )


def read(source: Path, home: Path) -> Code | None:
    """Return the code in ``source`` that is to be kept in ``home``; None where it runs from there."""
    if source == kept(home).resolve():
        return None
    files = dict(sorted(code(source)))
    return Code(files, digest(files))


def code(folder: Path) -> Iterator[tuple[str, tuple[bytes, int]]]:
    """Yield the files of the code: what git does not ignore, else all but what Python left there."""
    # Only of a repository of its own: the home that it lies in may be one, with rules for other things.
    words = ["git", *GIT, "-C", str(folder), "ls-files", "-z", "-co", "--exclude-standard", "--", *CODE]
    listing = run(words, check=False) if (folder / ".git").exists() else None
    if listing is not None and listing.ok and listing.stdout:
        names = [name for name in listing.stdout.split("\0") if name]
    else:
        names = [str(path.relative_to(folder)) for top in CODE for path in _tree(folder / top)]
    for name in names:
        path = folder / name
        if path.is_file() and path.suffix != ".pyc":
            yield name, (path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)


def digest(files: Mapping[str, tuple[bytes, int]]) -> str:
    """Return the digest of the archive that holds these files and nothing else."""
    packed = io.BytesIO()
    pack(packed, ((name, content, mode) for name, (content, mode) in sorted(files.items())))
    return hashlib.sha256(packed.getvalue()).hexdigest()


def _tree(top: Path) -> list[Path]:
    if top.is_file():
        return [top]
    return [path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def pack(stream: IO[bytes], members: Iterable[tuple[str, bytes, int]]) -> None:
    """Write an uncompressed archive of (name, content, mode); the same members make the same bytes."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content, mode in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, TIME
            tar.addfile(entry, io.BytesIO(content))
