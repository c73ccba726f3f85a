"""Where programs that keep services are begun: with nothing of the caller's, and outside of what a logout ends."""

from __future__ import annotations

import os
from pathlib import Path

from cncp.inheritance import MARK
from cncp.machine.facts import lingers
from cncp.machine.node import Node
from cncp.machine.services.processes import ours
from cncp.process import run

_MORTAL = "logind ends all with your session (KillUserProcesses=yes)"

_NOT_TAKEN = (
    # A terminal of Jupyter's would mark what is begun in it as Jupyter's, and end it with Jupyter.
    MARK,
    *("TMUX", "TMUX_PANE", "STY", "WINDOW"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONPLATLIBDIR"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"),
)


def begin(node: Node) -> list[str]:
    """Return what to put before a command that is to go on after the logout of whoever runs it."""
    alone = ["env", *(word for name in _NOT_TAKEN for word in ("-u", name))]
    if not (_logout_kills(node) and lingers(node.account) and _user_manager(node).exists()):
        return alone
    runtime = f"XDG_RUNTIME_DIR=/run/user/{node.account.uid}"
    return [*alone, runtime, "systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]


def mortal(node: Node) -> str:
    """Return why all that is kept ends with the session it was begun in, and what to do; "" where it does not."""
    if not any("/session-" in _group(keeper.pid) for keeper in ours(node).keepers) or not _logout_kills(node):
        return ""
    first = "" if lingers(node.account) else f"an administrator runs loginctl enable-linger {node.account.name}; then "
    return f"{_MORTAL}: {first}cncp down, cncp up"


def _user_manager(node: Node) -> Path:
    return Path(f"/run/user/{node.account.uid}/systemd/private")


def _group(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    except OSError:
        return ""


def _logout_kills(node: Node) -> bool:
    """Ask logind whether processes of this account end with their session: logind.conf(5), KillUserProcesses=."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    where = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
    names = ("KillUserProcesses", "KillExcludeUsers", "KillOnlyUsers")
    lines = run(["busctl", "get-property", *where, *names], check=False).stdout.splitlines()
    if len(lines) != len(names):
        return False
    named = f'"{node.account.name}"'
    only = lines[2].split()[2:]
    return lines[0] == "b true" and named not in lines[1].split() and (not only or named in only)
