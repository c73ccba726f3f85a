"""What the account's own login has that its services are to have too: PATH, language, proxies, umask.

Asked of a login shell, and not taken from whoever runs ``cncp up``, which may be sudo, cron, a host's sshd or
a shell with much loaded. So services have the same before a reboot and after it.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cncp.errors import CncpError
from cncp.field_types import Within
from cncp.files import read_bytes
from cncp.inheritance import LOGIN
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.records import Record
from cncp.state_files import StateFile

_TAKEN = re.compile(r"PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|(?:https?|ftp|all|no)_proxy", re.IGNORECASE)
_BEGINS = "cncp: the login begins here"
_PATIENCE = 10.0  # s; login files may load much, or wait for somebody
_MOST = 32768  # characters of a value


@dataclass(frozen=True)
class Login(Record):
    """What a login shell has, which services begin with (``cncp.inheritance``)."""

    umask: Annotated[int, Within(0, 0o777)]
    variables: Mapping[str, str]


STORE = StateFile(LOGIN, Login, "cncp restart asks the login shell again")


def path(home: Path) -> Path:
    """Return where it is kept."""
    return STORE.path(home)


def refresh(node: Node, actor: Actor) -> list[str]:
    """Write what the login has now, where it differs; return the path if so. What cannot be asked stays as it was."""
    found, home = ask(node, actor), Path(node.home)
    return [str(path(home))] if found is not None and STORE.save(home, found, actor.write) else []


def ask(node: Node, actor: Actor) -> Login | None:
    """Run the account's login shell; None where there is none that answers."""
    shell = _shell(node.account.uid)
    # csh takes -l only alone; it reads ~/.cshrc anyway, where its users set their PATH.
    as_login = [] if shell.endswith("csh") and not shell.endswith("zsh") else ["-l"]
    begin = 'umask 022; cd "$HOME" 2>/dev/null || cd /; exec "$@"'
    # These few words are read alike by all shells.
    words = [shell, *as_login, "-c", f"echo '{_BEGINS}'; umask; env -0"]
    beginning = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **_of_everybody(),
        "HOME": node.account.home,
        "USER": node.account.name,
        "LOGNAME": node.account.name,
        "SHELL": shell,
    }
    clean = ["env", "-i", *(f"{name}={value}" for name, value in beginning.items())]
    try:
        said = actor.run([*clean, "/bin/sh", "-c", begin, "sh", *words], check=False, timeout=_PATIENCE).stdout
    except CncpError:
        return None
    return read(said)


def read(said: str) -> Login | None:
    """Return umask and variables from what a login shell said; None where it did not get so far."""
    _, began, rest = said.partition(f"{_BEGINS}\n")
    umask, _, shown = rest.partition("\n")
    if not began or not re.fullmatch(r"[0-7]{1,4}", umask.strip()):
        return None
    found = dict(word.partition("=")[::2] for word in shown.split("\0") if "=" in word)
    taken = {
        name: value
        for name, value in found.items()
        # Neither what is not UTF-8 nor what is beyond reason.
        if _TAKEN.fullmatch(name) and value and "\ufffd" not in value and len(value) < _MOST
    }
    return Login(int(umask, 8) & 0o777, taken)


def _shell(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_shell or "/bin/sh"
    except KeyError:
        return "/bin/sh"


def _of_everybody() -> dict[str, str]:
    """Return what the system sets for every login before a shell begins: pam_env(8), locale.conf(5)."""
    found: dict[str, str] = {}
    for file in ("/etc/locale.conf", "/etc/default/locale", "/etc/environment"):
        content = (read_bytes(Path(file)) or b"").decode(errors="replace")
        for line in content.splitlines():
            match = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(['\"]?)([^'\"$]*)\2\s*", line)
            if match and _TAKEN.fullmatch(match[1]):
                found[match[1]] = match[3]
    return found
