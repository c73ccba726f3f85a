"""What settings ask of a machine, held against it before anything is changed or kept.

A setting that is possible somewhere may be impossible here: found out by the controller's end it
would take a working cluster down. Standard library only: asked before there is a virtualenv, too.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cncp.config.settings import Cluster
from cncp.errors import PreflightError, UsageError
from cncp.process import run

_LEAST = 4 * 2**20
"""Bytes that what `up` writes takes, with some room for logs."""

_FILES = 64
"""As many files as that are made."""


def insist(settings: Cluster, *, controller: bool, folders: Sequence[Path], python: str | os.PathLike[str]) -> None:
    """Raise UsageError or PreflightError where this machine cannot serve the settings. Changes nothing.

    ``folders`` are to be written into, there or not yet; ``python`` is the one that services run with.
    """
    if controller:
        _listen(settings.listen)
        _database(settings, python)
    _requirements(settings.requirements)
    for folder in folders:
        writable(folder)


def _listen(address: str) -> None:
    if address == "0.0.0.0":
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise UsageError(
                f"listen = {address} cannot be: {error.strerror}",
                "name an address of this machine (`ip address` shows them), or all, or loopback",
            ) from None


def _database(settings: Cluster, python: str | os.PathLike[str]) -> None:
    wants = ["database = sqlite"] if settings.database == "sqlite" else []
    wants += ["jupyter"] if settings.jupyter else []
    if wants and not _imports(python, "sqlite3"):
        raise PreflightError(
            f"{' and '.join(wants)} cannot be: {os.fspath(python)} was built without sqlite3",
            "leave it out, or take a Python with sqlite3: bash ./baremetal.sh --python PATH",
        )


def _imports(python: str | os.PathLike[str], module: str) -> bool:
    if os.fspath(python) == sys.executable:
        try:
            __import__(module)
        except ImportError:
            return False
        return True
    return run([python, "-I", "-c", f"import {module}"], check=False, timeout=60).ok


def _requirements(setting: str) -> None:
    if setting == "none" or "://" in setting:
        return
    try:
        with open(setting, "rb") as stream:
            stream.read(1)
    except OSError as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise UsageError(f"the requirements file {setting} {why}", "name a readable one with --requirements") from None


def writable(folder: Path) -> None:
    """Raise PreflightError where a folder cannot be made, or nothing be made in it."""
    existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise PreflightError(f"{folder} cannot be made: {existing} is not a folder", f"move {existing} away")
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        problem = f"{folder} cannot be written" if existing == folder else f"{folder} cannot be made in {existing}"
        read_only = os.statvfs(existing).f_flag & os.ST_RDONLY
        why = "the disk is read-only" if read_only else "you may not write there"
        raise PreflightError(f"{problem}: {why}", "mend its permissions, or have another folder: IPYTHONDIR, CNCP_HOME")


def full(folders: Sequence[Path], least: int = _LEAST) -> Iterator[str]:
    """Say which of these folders' disks has no room for ``least`` bytes, or for files."""
    told = set()
    for folder in folders:
        existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
        disk = existing.stat().st_dev
        found = os.statvfs(existing)
        if disk in told:
            continue
        told.add(disk)
        free = found.f_bavail * found.f_frsize
        if free < least:
            yield f"the disk of {existing} is full: only {free // 2**20} MB are free"
        # Some file systems have no fixed number of files, and say 0 of 0.
        elif found.f_files and found.f_favail < _FILES:
            left = f"{found.f_favail} of {found.f_files} inodes are free"
            yield f"the disk of {existing} has no room for more files: {left}"


def room(folders: Sequence[Path]) -> None:
    """Raise PreflightError where nothing can be written because a disk is full."""
    for problem in full(folders):
        raise PreflightError(problem, "make room on that disk, then run this again")


def doubts(settings: Cluster) -> Iterator[str]:
    """Say what may be a mistake, and may be right: what others see is not seen from here."""
    if settings.external != "auto":
        try:
            socket.getaddrinfo(settings.external, None, family=socket.AF_INET)
        except OSError as error:
            yield f"external = {settings.external} is no name that this machine can resolve: {error.strerror}"
    if settings.memory != "none":
        unit = {"M": 2**20, "G": 2**30}[settings.memory[-1]]
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if int(settings.memory[:-1]) * unit > total:
            yield f"memory = {settings.memory} is more than this machine has: {total // 2**20} MB"
