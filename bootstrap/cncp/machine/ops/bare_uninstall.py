"""Undoing a cluster of which parts are gone: the virtualenv, or what it was set up with.

Standard library alone. What runs is known from /proc, what was written from the manifest or, without
one, by what can be recognised.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from cncp import accounts, remote
from cncp.accounts import Account
from cncp.config.sources import SOURCE
from cncp.console import Console
from cncp.errors import CncpError, plural
from cncp.files import read_record
from cncp.machine import removal
from cncp.machine.actor import Actor
from cncp.machine.node import PartialNode, node_path
from cncp.machine.services.processes import command_line, of_account
from cncp.waiting import wait_until

_PATIENCE = 10.0  # seconds that processes have to end by themselves


def main() -> int:
    """Be `cncp uninstall`, whatever is left of the cluster; return the exit code."""
    console = Console(quiet="--quiet" in sys.argv)
    try:
        account = accounts.account(os.environ)
        home = accounts.home_folder(os.environ, account)
        for path in uninstall(home, account, console):
            console.say(f"left, because it is not ours: {path}")
        console.say("removed")
    except (CncpError, OSError) as error:
        return console.error(error)
    return 0


def instead(lacking: ImportError) -> int:
    """Be `cncp` where a package that it needs is gone; return the exit code."""
    if sys.argv[1:2] == ["uninstall"]:
        return main()
    message = f"the virtualenv of this cluster is damaged: {lacking}"
    hint = f"bash {SOURCE}/baremetal.sh mends it; cncp uninstall takes all of it away"
    return Console().error(CncpError(message, hint))


def uninstall(home: Path, account: Account, console: Console) -> list[str]:
    """End and remove all that can be seen to belong to the cluster in ``home``; return what is left in its folders."""
    if not home.is_dir():
        raise CncpError(f"there is no cluster in {home}", "make one: bash ./baremetal.sh")
    actor = Actor(account)
    node = read_record(node_path(home), PartialNode) or PartialNode()
    if node.scope == "system" and os.geteuid() != 0:
        raise CncpError(
            "units of the system run this cluster, and its record of them is damaged",
            "bash ./baremetal.sh as root mends it; then uninstall it as root",
        )
    named = [Path(node.profile)] if node.profile else []
    own = Path(account.home)
    folders = {accounts.ipython_folder(os.environ, account), own / ".ipython", *(profile.parent for profile in named)}
    memory = removal.remembered(home, own, folders, SOURCE / "notebooks", console.warn)
    units = sorted({Path(path).name for path in memory.made if re.search(r"/cncp[^/]*\.(target|service)$", path)})
    if units:
        _systemctl(actor, "stop", *units)
    _out_of_crontab(actor, home)
    count = end(home, account.uid)
    console.phase(f"ended {plural(count, 'program')}, removing {plural(len(memory.made), 'path')}")
    removal.written(memory, named, actor)
    if units:
        _systemctl(actor, "daemon-reload")
    if (home / "lingering").exists():
        actor.run(["loginctl", "--no-ask-password", "disable-linger", account.name], check=False)
    console.phase(f"removing {home}")
    return removal.folders(memory, home, actor)


def _systemctl(actor: Actor, *words: str) -> None:
    with contextlib.suppress(CncpError):
        actor.run(["systemctl", "--user", *words], check=False)


def processes(home: Path, uid: int) -> Iterator[int]:
    """Yield the processes of an account that keep or are services of the cluster in ``home``, keepers first."""
    found: list[tuple[bool, int]] = []
    for pid, words in _command_lines(uid):
        keeper = f"{home}/supervisor/supervisord.conf" in words or f"{home}/libexec/keep" in words[:3]
        if keeper or (remote.verb_of(words)[0] == "serve" and f"{home}/node.json" in words):
            found.append((not keeper, pid))
    yield from (pid for _, pid in sorted(found))


def _command_lines(uid: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the processes of an account but this one, each with its command line."""
    return ((pid, command_line(pid)) for pid in of_account(uid) if pid != os.getpid())


def end_tellers(home: Path, uid: int) -> None:
    """End what has still to tell a hub that an engine has ended: the hub is gone as well, and they wait for it."""
    python = f"{home}/venv/bin/python"
    lines = _command_lines(uid)
    # They ignore what service managers end an engine's processes with.
    _signal([pid for pid, words in lines if python in words and remote.waits_to_tell(words)], signal.SIGKILL)


def end(home: Path, uid: int) -> int:
    """End all of them, by force where they do not go by themselves; return how many there were."""
    end_tellers(home, uid)
    there = list(processes(home, uid))
    _signal(there, signal.SIGTERM)
    wait_until(lambda: not list(processes(home, uid)), _PATIENCE)
    _signal(list(processes(home, uid)), signal.SIGKILL)
    wait_until(lambda: not list(processes(home, uid)), _PATIENCE)
    return len(there)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _out_of_crontab(actor: Actor, home: Path) -> None:
    """Take out lines of ours that start this cluster; those of others, and the user's own, stay."""
    if shutil.which("crontab") is None:
        return
    listed = actor.run(["crontab", "-l"], check=False)
    lines = listed.stdout.splitlines() if listed.ok else []
    starts = (str(home), f"{actor.account.home}/.local/bin/cncp")

    def ours(line: str) -> bool:
        return bool(re.search(r" # cncp\S*$", line)) and any(start in line.replace("\\%", "%") for start in starts)

    others = [line for line in lines if not ours(line)]
    if others and others != lines:
        actor.run(["crontab", "-"], input="\n".join(others) + "\n")
    elif others != lines:
        actor.run(["crontab", "-r"], check=False)
