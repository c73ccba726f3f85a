"""The code kept with the cluster: a checkout may be moved or deleted, and the cluster goes on.

What runs from CNCP_HOME/code is a copy of what provisioning needs of the checkout that baremetal.sh
was started in. Started there again, what was edited in the meantime comes over.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp import bundle
from cncp.files import lock, read_bytes

DIGEST = ".digest"
"""As on hosts to which another machine sends the code (`fleet.agent`): the digest of its archive."""


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


def read(source: Path, home: Path) -> Code | None:
    """Return the code in ``source`` that is to be kept in ``home``; None where it runs from there."""
    if source == kept(home).resolve():
        return None
    files = dict(sorted(bundle.code(source)))
    return Code(files, bundle.digest(files))
