"""What a machine has: read before anything is decided, never changed here."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.accounts import Account, account
from cncp.process import run


@dataclass(frozen=True)
class Facts:
    """What the decisions about a machine need to know of it."""

    account: Account
    root: bool
    sudo: str  # "none", "silent" or "prompt": how a command can be run as root
    cores: int
    gpus: tuple[str, ...]
    host: str
    systemd: bool
    user_manager: bool
    lingering: bool
    can_linger: bool


def cores() -> int:
    """Return how many CPUs this process may use, which batch systems and containers restrict."""
    return len(os.sched_getaffinity(0))


def gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs an engine can be given, as CUDA_VISIBLE_DEVICES names them."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name for name in visible.split(",") if name)
    nodes = Path("/dev").glob("nvidia[0-9]*")
    return tuple(sorted((node.name.removeprefix("nvidia") for node in nodes), key=int))


def gather(environment: Mapping[str, str]) -> Facts:
    """Look at this machine."""
    # Not at the top: services read what facts are, and gather none.
    from cncp.machine.root import authority

    owner = account(environment)
    systemd = Path("/run/systemd/system").is_dir()
    lingering = systemd and lingers(owner)
    by_sudo = sudo()
    return Facts(
        account=owner,
        root=authority.began_by_root(),
        sudo=by_sudo,
        cores=cores(),
        gpus=gpus(environment),
        host=socket.gethostname(),
        systemd=systemd,
        user_manager=systemd and Path(f"/run/user/{owner.uid}/systemd/private").exists(),
        lingering=lingering,
        can_linger=lingering or by_sudo != "none" or _may_linger(),
    )


def lingers(owner: Account) -> bool:
    """Tell whether systemd keeps this user's manager running without a session."""
    return Path(f"/var/lib/systemd/linger/{owner.name}").exists()


def sudo() -> str:
    """Return how sudo runs a command: "silent", after a "prompt", or "none" where it cannot or need not."""
    from cncp.machine.root import authority

    if os.geteuid() == 0 or authority.reachable() or shutil.which("sudo") is None:
        return "none"
    if run(["sudo", "-n", "true"], check=False).ok:
        return "silent"
    return "prompt" if sys.stdin.isatty() and sys.stderr.isatty() else "none"


def _may_linger() -> bool:
    """Ask polkit whether this user may turn lingering on; without polkit only root may."""
    if shutil.which("pkcheck") is None:
        return False
    action = "org.freedesktop.login1.set-self-linger"
    return run(["pkcheck", "--action-id", action, "--process", str(os.getpid())], check=False).ok
