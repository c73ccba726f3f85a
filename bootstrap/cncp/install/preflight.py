"""What must hold before anything is installed; all failures are found before the first change."""

from __future__ import annotations

import calendar
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from cncp.errors import PreflightError
from cncp.run import CommandError, run

MINIMUM_PYTHON = (3, 10)
SPACE = 400 * 1024 * 1024
"""Bytes an installation takes at its peak: 110 MB of packages, 50 MB of tools, their downloads."""


_MODULES = ("ctypes", "hashlib", "ssl", "zlib")
"""What minimal builds of Python leave out, and what an installation cannot do without."""

_WRITTEN = calendar.timegm((2026, 11, 1, 0, 0, 0))
"""No release of this code is older. The times of its files are no witness: a copy has new ones."""


def check(home: Path, python: str) -> tuple[int, int]:
    """Return the version of ``python``.

    Raises PreflightError naming the first thing that would make an installation fail.
    """
    version = _python(python)
    existing = next(folder for folder in (home, *home.parents) if os.path.isdir(folder))
    _writable(existing, home)
    _executable(existing)
    _space(existing)
    _clock()
    return version


def executable(python: str) -> str:
    """Return the path of the program that a name, a link or a wrapper script stands for."""
    try:
        return run([python, "-I", "-c", "import sys; print(sys.executable)"], timeout=60).stdout.strip() or python
    except CommandError:
        # Refused by `check`, with the reason.
        return python


def _python(python: str) -> tuple[int, int]:
    lacks = f"[one for one in {_MODULES} if not importlib.util.find_spec(one)]"
    code = f"import importlib.util, sys; print(*sys.version_info[:2], sys.implementation.name, *{lacks})"
    try:
        said = run([python, "-I", "-c", code], check=False, timeout=60)
        major, minor, kind, *missing = said.stdout.split()
        version = (int(major), int(minor))
    except (CommandError, ValueError):
        raise PreflightError(f"{python} is not a Python", "name one with --python or CNCP_PYTHON") from None
    if version < MINIMUM_PYTHON or kind != "cpython":
        raise PreflightError(
            f"{python} is {kind} {major}.{minor}; CPython 3.10 or newer is needed",
            "install one (package python3), or name one with --python or CNCP_PYTHON",
        )
    if missing:
        raise PreflightError(
            f"{python} was built without {', '.join(missing)}",
            "install the whole of Python (package python3), or name another with --python or CNCP_PYTHON",
        )
    return version


def _writable(existing: Path, home: Path) -> None:
    if os.path.exists(home) and not os.path.isdir(home):
        raise PreflightError(f"{home} is not a folder", "remove it, or set CNCP_HOME to another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PreflightError(f"{home} cannot be made: {existing} is not writable", "set CNCP_HOME to a folder that is")


def _executable(existing: Path) -> None:
    """A home mounted noexec takes an installation and then runs none of it."""
    try:
        descriptor, name = tempfile.mkstemp(dir=existing, prefix=".cncp-")
    except OSError as error:
        raise PreflightError(f"{existing} cannot be written: {error.strerror}", "make room or set CNCP_HOME") from None
    try:
        with open(descriptor, "w") as stream:
            stream.write("#!/bin/sh\n")
        os.chmod(name, stat.S_IRWXU)
        subprocess.run([name], check=True)
    except (PermissionError, subprocess.CalledProcessError):
        raise PreflightError(
            f"programs cannot be run from {existing}: it is mounted noexec",
            "set CNCP_HOME to a folder on another file system",
        ) from None
    finally:
        os.unlink(name)


def _space(existing: Path) -> None:
    free = shutil.disk_usage(existing).free
    if free < SPACE:
        raise PreflightError(
            f"{existing} has {free // 2**20} MB free, {SPACE // 2**20} MB are needed",
            "make room, or set CNCP_HOME to a folder on another file system",
        )


def _clock() -> None:
    """With a clock behind the code's own date every TLS certificate is still to come."""
    if time.time() < _WRITTEN:
        now = time.strftime("%Y-%m-%d", time.gmtime())
        raise PreflightError(
            f"the clock says {now}, before this code was written", "set the clock, then run this again"
        )
