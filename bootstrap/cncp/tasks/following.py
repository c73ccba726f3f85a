"""What may come after a first installation: commands that work in this very shell, and on the user's laptop."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from cncp.accounts import Account


def program(account: Account, environment: Mapping[str, str]) -> str:
    """Return how our command is called in the shell that this was started from.

    Its folder is not on the PATH of every login, or another program of that name comes first.
    """
    command = Path(account.home) / ".local" / "bin" / "cncp"
    found = shutil.which("cncp", path=environment.get("PATH", os.defpath))
    if found and os.path.realpath(found) == os.path.realpath(command):
        return "cncp"
    if account.uid == os.geteuid() and environment.get("HOME") == account.home:
        # All shells read the tilde alike.
        return "~/.local/bin/cncp"
    return shlex.quote(str(command))


def reached(location: str, account: Account, environment: Mapping[str, str]) -> str:
    """Return this machine as the user's other machines can name it, "" where nothing is known that would do.

    ``location`` is what it calls itself. A name without a dot means nothing elsewhere; the address that
    this login came in by does.
    """
    if "." in location or ":" in location:
        return f"{account.name}@{location}"
    words = environment.get("SSH_CONNECTION", "").split()
    if len(words) != 4:
        return ""
    _, _, address, port = words
    return f"{account.name}@{address}" if port == "22" or ":" in address else f"{account.name}@{address}:{port}"


def lines(command: str, laptop: str, *, loopback: bool) -> list[str]:
    """Return the lines that end the report of a first installation.

    ``command`` is how our command is called here, ``laptop`` the machine as others name it, or "".
    What listens on ``loopback`` alone is reached through ssh.
    """
    found = [f"next: {command} status | {command} shell"]
    if command != "cncp":
        found.append("      just cncp, once ~/.local/bin is on your PATH; on many systems the next login puts it there")
    if laptop:
        found.append(f"from your laptop: cncp {'connect' if loopback else 'keys.copy'} --host {laptop}")
    return found
