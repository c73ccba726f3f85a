"""Whose cluster it is and where it lives. Standard library only: needed before anything is installed."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import UsageError


@dataclass(frozen=True)
class Account:
    """The login user: whose home holds everything and who runs controller and engines."""

    name: str
    uid: int
    gid: int
    home: str


def named(environment: Mapping[str, str]) -> Account:
    """Return whose cluster it is: CNCP_USER, who called sudo, or who runs this. Raises UsageError."""
    name = environment.get("CNCP_USER") or (environment.get("SUDO_USER") if os.geteuid() == 0 else "")
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError:
        label = name or f"uid {os.geteuid()}"
        raise UsageError(f"there is no account {label} on this machine", "set CNCP_USER to one that is") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise UsageError(
            f"CNCP_USER is {entry.pw_name}, but this runs as another user, who is not root",
            f"log in as {entry.pw_name}, or run this with sudo",
        )
    # Of one's own account $HOME is believed, as every program does.
    own = entry.pw_uid == os.geteuid()
    home = (environment.get("HOME") if own else "") or entry.pw_dir
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, home)


def account(environment: Mapping[str, str]) -> Account:
    """Return whose cluster it is, who is always who runs this. Raises UsageError.

    Root never opens an account's files, nor runs its programs: for another account baremetal.sh becomes
    that account first (bootstrap/asroot.py).
    """
    owner = named(environment)
    if owner.uid != os.geteuid():
        raise UsageError(
            f"root does not act for {owner.name} with what {owner.name} can write",
            f"as root: CNCP_USER={owner.name} bash ./baremetal.sh, or ... baremetal.sh cncp VERB; "
            "for root's own cluster: CNCP_USER=root",
        )
    return owner


def home_folder(environment: Mapping[str, str], account: Account) -> Path:
    """Return the folder that holds all we keep: CNCP_HOME, or one in the login user's home."""
    return Path(environment.get("CNCP_HOME") or Path(account.home) / ".local" / "share" / "cncp").absolute()


def home(environment: Mapping[str, str]) -> Path:
    """Return the folder that holds all we keep for the login user whom ``environment`` names."""
    return home_folder(environment, account(environment))


def ipython_folder(environment: Mapping[str, str], account: Account) -> Path:
    """Return IPython's folder of the login user."""
    own = account.uid == os.geteuid()
    named = environment.get("IPYTHONDIR") if own else None
    return Path(named or Path(account.home) / ".ipython").absolute()
