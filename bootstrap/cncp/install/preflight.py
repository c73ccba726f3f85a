"""What must hold before anything is installed; all failures are found before the first change."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cncp.attributes import SOURCE
from cncp.errors import PreflightError

MINIMUM_PYTHON = (3, 10)
SPACE = 400 * 1024 * 1024
"""Bytes an installation takes at its peak: 110 MB of packages, 50 MB of tools, their downloads."""


def check(home: Path, python: str) -> None:
    """Raise PreflightError naming the first thing that would make an installation fail."""
    _python(python)
    existing = next(folder for folder in (home, *home.parents) if folder.is_dir())
    _writable(existing, home)
    _executable(existing)
    _space(existing)
    _clock()


def _python(python: str) -> None:
    if python == sys.executable:
        version: tuple[int, ...] = sys.version_info[:2]
    else:
        code = "import sys; print(*sys.version_info[:2])"
        try:
            said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
            version = tuple(map(int, said.stdout.split()))
        except (OSError, subprocess.CalledProcessError, ValueError):
            raise PreflightError(f"{python} is not a Python", "set CNCP_PYTHON to one, or unset it") from None
    if version < MINIMUM_PYTHON:
        raise PreflightError(
            f"{python} is Python {'.'.join(map(str, version))}; 3.10 or newer is needed",
            "install a newer one (package python3), or name one with CNCP_PYTHON",
        )


def _writable(existing: Path, home: Path) -> None:
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
    written = (SOURCE / "bootstrap" / "locks" / "compute.txt").stat().st_mtime
    if time.time() < written - 86400:
        now = time.strftime("%Y-%m-%d", time.gmtime())
        raise PreflightError(
            f"the clock says {now}, before this code was written", "set the clock, then run this again"
        )
