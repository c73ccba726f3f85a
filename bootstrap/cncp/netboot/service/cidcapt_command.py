"""cidcapt where schedulers find it: a script at a path that stays, and the file by which it reaches cidd."""

from __future__ import annotations

import os
import pwd
import shlex

from cncp import remote
from cncp.files import read_bytes, to_json, write_atomic
from cncp.netboot.cidcapt import Access
from cncp.netboot.service.server_paths import Paths
from cncp.surroundings import PYTHON


def install_command(paths: Paths, access: Access, owner: str) -> None:
    """Write both; the access file is for its owner alone, who may run jobs' nodes into images by it."""
    for folder in (paths.command.parent, paths.etc, paths.own_lines):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    _write_script(paths)
    content, account = to_json(access.to_json()), pwd.getpwnam(owner)
    there = paths.access.stat().st_uid if paths.access.exists() else -1
    if read_bytes(paths.access) != content or there != account.pw_uid:
        write_atomic(paths.access, content, 0o600)
        os.chown(paths.access, account.pw_uid, account.pw_gid)
    if not os.path.lexists(paths.on_path):
        paths.on_path.parent.mkdir(parents=True, exist_ok=True)
        paths.on_path.symlink_to(paths.command)


def _write_script(paths: Paths) -> None:
    words = [str(paths.home / "venv" / "bin" / "python"), *PYTHON, *remote.command("cidcapt")]
    said = "# Installed by cncp netboot.up: what a prolog calls, whose environment may be empty."
    text = f'#!/bin/sh\n{said}\nexec {shlex.join(words)} "$@"\n'
    if read_bytes(paths.command) != text.encode():
        write_atomic(paths.command, text.encode(), 0o755)


def remove_command(paths: Paths) -> None:
    """Take the script away, and the link that leads to it."""
    if paths.on_path.is_symlink() and os.readlink(paths.on_path) == str(paths.command):
        paths.on_path.unlink()
    paths.command.unlink(missing_ok=True)
    if paths.command.parent.is_dir():
        paths.command.parent.rmdir()
