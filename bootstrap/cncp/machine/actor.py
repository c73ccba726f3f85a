"""The one gate through which an account's files are changed and its commands run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cncp.accounts import Account
from cncp.errors import CncpError
from cncp.files import write_atomic
from cncp.machine.root.authority import Authority
from cncp.process import Completed, run


class Actor:
    """Changes files and runs commands as the account whose cluster it is, which is who runs this process.

    What only root can do is asked of ``root``. Root itself acts here for its own cluster alone: for another
    account it becomes that account first (bootstrap/asroot.py), so that no file of the account's, and no
    program of it, ever has root's rights.
    """

    def __init__(self, account: Account) -> None:
        if os.geteuid() == 0 != account.uid:
            raise CncpError(
                f"root does not act on files of {account.name}",
                f"as root: CNCP_USER={account.name} bash ./baremetal.sh",
            )
        self.account = account
        self.root = Authority(account)

    def run(
        self,
        argv: Sequence[str],
        check: bool = True,
        timeout: float = 120,
        input: str | None = None,  # noqa: A002  # as in subprocess
    ) -> Completed:
        """Run a command to its end."""
        return run(argv, check=check, timeout=timeout, input=input)

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Write a file atomically."""
        write_atomic(path, content, mode)

    def mkdir(self, path: Path, mode: int) -> None:
        """Make one directory; its parent is there."""
        path.mkdir()
        path.chmod(mode)

    def chmod(self, path: Path, mode: int) -> None:
        """Set the mode of a file or directory."""
        path.chmod(mode)

    def link(self, path: Path, target: str) -> None:
        """Make or replace a symbolic link in one step."""
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.replace(path)

    def remove(self, path: Path) -> None:
        """Remove a file, a link or a whole directory; no error where there is none."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def rmdir(self, path: Path) -> bool:
        """Remove a directory if it is empty, and tell whether it is gone."""
        with contextlib.suppress(OSError):
            path.rmdir()
        return not path.exists()
