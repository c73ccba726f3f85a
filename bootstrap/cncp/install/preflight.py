"""What must hold before anything is installed; all failures are found before the first change."""

from __future__ import annotations

import calendar
import contextlib
import glob
import grp
import os
import pwd
import re
import resource
import shlex
import shutil
import stat
import tempfile
import time
from pathlib import Path

from cncp.errors import PreflightError
from cncp.process import CommandError, run

MINIMUM_PYTHON = (3, 10)
SPACE = 400 * 1024 * 1024
"""Bytes an installation takes at its peak: 110 MB of packages, 50 MB of tools, their downloads."""


_MODULES = ("ctypes", "hashlib", "ssl", "zlib")
"""What minimal builds of Python leave out, and what an installation cannot do without."""

_WRITTEN = calendar.timegm((2026, 11, 1, 0, 0, 0))
"""No release of this code is older. The times of its files are no witness: a copy has new ones."""


def names(*homes: str | os.PathLike[str]) -> None:
    """Refuse folders whose names programs we need cannot cope with. Raises PreflightError."""
    for home in [os.fspath(path) for path in homes]:
        shown = home.encode("utf-8", "backslashreplace").decode()
        try:
            home.encode()
        except UnicodeEncodeError:
            raise PreflightError(
                f"the name of {shown} is not UTF-8, which files of settings must be", _ELSEWHERE
            ) from None
        if re.search(r"[\x00-\x1f\x7f]", home):
            raise PreflightError(f"the name {home!r} holds a control character, which would end a line", _ELSEWHERE)
        if re.search(r"\s[;#]", home):
            raise PreflightError(
                f"the name of {home} holds a space and ; or #: a comment would begin there", _ELSEWHERE
            )
    if ":" in os.fspath(homes[0]):
        raise PreflightError(f"the name of {homes[0]} holds a colon, at which PATH would be split", _ELSEWHERE)


_ELSEWHERE = "set CNCP_HOME to a folder of another name; where it is the home itself, HOME as well"


def limits(engines: int, uid: int) -> None:
    """Refuse limits of this login under which so many engines would not start. Raises PreflightError.

    By measurement: a controller has 60 files open and one or two more an engine, an engine 65; with
    their threads they are 40 and 14 of what the system counts as processes of a user.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = 100 + 2 * engines
    if files not in (-1, resource.RLIM_INFINITY) and files < needed:
        raise PreflightError(
            f"this login may open no more files than {files} (ulimit -Hn); {engines} engines need {needed}",
            "have the limit raised (nofile in /etc/security/limits.conf), or start fewer: --engines N",
        )
    tasks = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if uid == 0 or tasks in (-1, resource.RLIM_INFINITY):
        return
    there, needed = _tasks(uid), 40 + 14 * engines
    if tasks < there + needed:
        raise PreflightError(
            f"this login may run {tasks} processes (ulimit -Hu) and has {there}; {engines} engines need {needed}",
            "have the limit raised (nproc in /etc/security/limits.conf), or start fewer: --engines N",
        )


def _tasks(uid: int) -> int:
    """Return how many threads of an account there are."""
    found = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found += len(os.listdir(f"/proc/{entry.name}/task")) if entry.stat().st_uid == uid else 0
    return found


def check(home: Path, python: str) -> tuple[int, int]:
    """Return the version of ``python``.

    Raises PreflightError naming the first thing that would make an installation fail.
    """
    version = _python(python)
    existing = next(folder for folder in (home, *home.parents) if os.path.isdir(folder))
    owned(home)
    _writable(existing, home)
    _executable(existing)
    _space(existing)
    _clock()
    return version


def owned(home: Path) -> None:
    """Refuse a place that somebody else could exchange for another. Raises PreflightError.

    As sshd does it for its keys: up to the account's home folder, or to the root where ``home`` is
    elsewhere, all that is there belongs to the account or to root, and nobody else can write to it.
    Where everybody can, the sticky bit keeps them from what is not theirs.
    """
    uid = os.geteuid()
    top = pwd.getpwuid(uid).pw_dir
    for path in (home, *home.parents):
        # What exists only as a link is where the link leads; a link is as good as its owner.
        for seen in [os.lstat(path), os.stat(path)] if os.path.exists(path) else []:
            if seen.st_uid not in (0, uid):
                raise PreflightError(f"{path} belongs to another account ({_name(seen.st_uid)})", _OURS)
            folder = stat.S_ISDIR(seen.st_mode) and not seen.st_mode & stat.S_ISVTX
            if folder and (
                seen.st_mode & stat.S_IWOTH or (seen.st_mode & stat.S_IWGRP and not _private(seen.st_gid, uid))
            ):
                raise PreflightError(f"others can write to {path}", f"chmod go-w {shlex.quote(str(path))}, or {_OURS}")
        if str(path) == top:
            break
    if home.exists() and home.stat().st_uid != uid:
        raise PreflightError(f"{home} belongs to another account ({_name(home.stat().st_uid)})", _OURS)


_OURS = "set CNCP_HOME to a folder that is yours alone"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _private(gid: int, uid: int) -> bool:
    """Tell whether a group is the one that distributions give each account for itself."""
    if gid == 0:
        return True
    try:
        name, group = pwd.getpwuid(uid).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


def executable(python: str) -> str:
    """Return the path of the program that a version, a name, a link or a wrapper script stands for.

    Raises PreflightError where there is no Python of a version.
    """
    if re.fullmatch(r"3(\.[0-9]+){0,2}", python):
        python = _of_version(python)
    try:
        return run([python, "-I", "-c", "import sys; print(sys.executable)"], timeout=60).stdout.strip() or python
    except CommandError:
        # Refused by `check`, with the reason.
        return python


def _of_version(version: str) -> str:
    """Return a Python of a version: on PATH, or where pyenv and uv keep theirs."""
    home = os.path.expanduser("~")
    kept = [*glob.glob(f"{home}/.pyenv/versions/{version}*/bin/python3")]
    kept += glob.glob(f"{home}/.local/share/uv/python/cpython-{version}*/bin/python3")
    short = ".".join(version.split(".")[:2])
    for name in (f"python{short}", "python3", *sorted(kept)):
        with contextlib.suppress(CommandError):
            said = run(
                [name, "-I", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"], timeout=60
            ).stdout.strip()
            if f"{said}.".startswith(f"{version}."):
                return name
    raise PreflightError(f"there is no Python {version} on this machine", _NAME_ONE)


_NAME_ONE = "install one (package python3), or name one with --python (its path, or a version) or CNCP_PYTHON"


def _python(python: str) -> tuple[int, int]:
    lacks = f"[name for name in {_MODULES} if not importlib.util.find_spec(name)]"
    shown = "*sys.version_info[:2], '%d.%d.%d' % sys.version_info[:3], sys.implementation.name"
    code = f"import importlib.util, sys; print({shown}, *{lacks})"
    try:
        said = run([python, "-I", "-c", code], check=False, timeout=60)
        major, minor, whole, kind, *missing = said.stdout.split()
        version = (int(major), int(minor))
    except (CommandError, ValueError):
        why = "is not a Python" if shutil.which(python) else "does not exist, or is no program"
        raise PreflightError(f"{python} {why}", "name one with --python or CNCP_PYTHON, or leave it out") from None
    if version < MINIMUM_PYTHON or kind != "cpython":
        raise PreflightError(f"{python} is {kind} {whole}; CPython 3.10 or newer is needed", _NAME_ONE)
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
        run([name])
    except CommandError:
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
