"""The one gate through which a machine is changed, with the rights each change needs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cncp.files import write_atomic
from cncp.machine.place import Account
from cncp.run import Completed, run


class Actor:
    """Changes files and runs commands as the login user or as root.

    Run by root for a login user it drops to that user for what is the user's; run by a user it
    takes sudo for what is root's. ``owner`` is "login" or "root" throughout.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self._root = os.geteuid() == 0
        self._groups = os.getgrouplist(account.name, account.gid)

    def run(
        self,
        argv: Sequence[str],
        owner: str = "login",
        check: bool = True,
        timeout: float = 120,
        input: str | None = None,  # noqa: A002  # as in subprocess
    ) -> Completed:
        """Run a command to its end with the rights of ``owner``, and of nobody else: all its ids are that one's."""
        if owner == "root" and not self._root:
            # sudo asks on the terminal by itself where it must.
            return run(["sudo", *argv], check=check, timeout=timeout, input=input)
        if owner == "login" and self._root and self.account.uid != 0:
            return run(
                argv,
                check=check,
                timeout=timeout,
                input=input,
                user=self.account.uid,
                group=self.account.gid,
                extra_groups=self._groups,
                # Root's working directory may be closed to the account.
                cwd="/",
                env={"HOME": self.account.home, "USER": self.account.name, "LOGNAME": self.account.name},
            )
        return run(argv, check=check, timeout=timeout, input=input)

    def write(self, path: Path, content: bytes, mode: int, owner: str = "login") -> None:
        """Write a file atomically."""
        if owner == "root" and not self._root:
            with tempfile.NamedTemporaryFile(prefix="cncp.") as staged:
                staged.write(content)
                staged.flush()
                beside = f"{path}.new"
                self.run(["install", "-m", f"{mode:04o}", "-o", "root", "-g", "root", staged.name, beside], "root")
                self.run(["mv", "-T", beside, str(path)], "root")
            return
        with self._as(owner):
            write_atomic(path, content, mode)

    def mkdir(self, path: Path, mode: int, owner: str = "login") -> None:
        """Make one directory; its parent is there."""
        if owner == "root" and not self._root:
            self.run(["mkdir", "-m", f"{mode:04o}", str(path)], "root")
            return
        with self._as(owner):
            path.mkdir()
            path.chmod(mode)

    def chmod(self, path: Path, mode: int, owner: str = "login") -> None:
        """Set the mode of a file or directory."""
        if owner == "root" and not self._root:
            self.run(["chmod", f"{mode:04o}", str(path)], "root")
            return
        with self._as(owner):
            path.chmod(mode)

    def link(self, path: Path, target: str, owner: str = "login") -> None:
        """Make or replace a symbolic link in one step."""
        if owner == "root" and not self._root:
            self.run(["ln", "-sfnT", target, str(path)], "root")
            return
        with self._as(owner):
            beside = path.with_name(f".{path.name}.new")
            beside.unlink(missing_ok=True)
            beside.symlink_to(target)
            beside.replace(path)

    def remove(self, path: Path, owner: str = "login") -> None:
        """Remove a file, a link or a whole directory; no error where there is none."""
        if owner == "root" and not self._root:
            self.run(["rm", "-rf", "--", str(path)], "root")
            return
        with self._as(owner):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def rmdir(self, path: Path, owner: str = "login") -> bool:
        """Remove a directory if it is empty, and tell whether it is gone."""
        if owner == "root" and not self._root:
            self.run(["rmdir", "--ignore-fail-on-non-empty", str(path)], "root", check=False)
            return not path.exists()
        with self._as(owner), contextlib.suppress(OSError):
            path.rmdir()
        return not path.exists()

    @contextlib.contextmanager
    def _as(self, owner: str) -> Iterator[None]:
        """Act as the login user where this is root acting for one.

        The file system then decides as it would for that user, so that a link in the user's home
        cannot make root write elsewhere.
        """
        if owner == "root" or not self._root or self.account.uid == 0:
            yield
            return
        groups = os.getgroups()
        os.setgroups(self._groups)
        os.setegid(self.account.gid)
        os.seteuid(self.account.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    @contextlib.contextmanager
    def as_login(self) -> Iterator[None]:
        """Do what stands in the block with the login user's rights to files."""
        with self._as("login"):
            yield
