"""How what only root can do is had done: by root that is at hand, which root itself begins, and others through sudo.

Whoever it is, it does only what `cncp.machine.root.step` knows: requests are records of a few fields. Standard
library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cncp.accounts import Account
from cncp.config.sources import SOURCE
from cncp.errors import CncpError, PreflightError
from cncp.machine.root.requests import (
    Changed,
    Disable,
    InstallCinc,
    Installed,
    Linger,
    Ran,
    Refused,
    Remove,
    Request,
    Systemctl,
    Units,
    Verb,
)
from cncp.process import PIPE, Process, begin, new_enough
from cncp.records import Record, read

if TYPE_CHECKING:
    from cncp.machine.node import Node

AT_HAND = "CNCP_ROOT"
"""The socket of root at hand."""

BY_ROOT = "CNCP_BY_ROOT"
"""Set where root itself began this: what sudo is asked for later is no choice of root's."""

_PATIENCE = 700.0
"""Seconds for an answer: a package may have to be fetched and installed."""

_AGAIN = "run this again"

R = TypeVar("R", bound=Record)

_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")


class Authority:
    """Root's rights for one account's cluster."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def units(self, node: Node, services: Mapping[str, str]) -> list[str]:
        """Have exactly the units there that the services (with their digests) need; return what changed."""
        settings = node.settings
        asked = Units(
            node.home, node.account.home, node.host, node.instance, settings.profile, settings.memory, services
        )
        return list(self._ask(asked, Changed).changed)

    def remove(self, prefix: str, *, code: bool = False) -> list[str]:
        """Remove all units of a prefix, with ``code`` root's copy of the code too; return what was removed."""
        return list(self._ask(Remove(prefix, code), Changed).changed)

    def disable(self, node: Node) -> None:
        """Take the target out of the boot."""
        self._ask(Disable(node.prefix), Changed)

    def systemctl(self, node: Node, verb: Verb, names: Sequence[str] = (), *, check: bool = True) -> None:
        """Run systemctl on units of services, on the target where none is named."""
        done = self._ask(Systemctl(verb, node.prefix, tuple(names)), Ran)
        if check and done.status != 0:
            said = done.said.splitlines()
            raise CncpError(
                f"systemctl {verb} exited with {done.status}" + (f": {said[-1]}" if said else ""),
                f"look at: systemctl status {node.prefix}.target",
            )

    def linger(self, *, on: bool) -> bool:
        """Turn the account's lingering on or off; tell whether that could be."""
        try:
            return self._ask(Linger(on), Ran).status == 0
        except CncpError:
            return False

    def cinc(self) -> Path:
        """Install Cinc, and return cinc-solo. Raises CncpError."""
        return Path(self._ask(InstallCinc(), Installed).program)

    def at_hand(self) -> None:
        """Have root at hand from here on, for this process and for all that it starts."""
        if not reachable():
            os.environ[AT_HAND] = _begin(self._account)

    def _ask(self, asked: Request, kind: type[R]) -> R:
        self.at_hand()
        answer = read(dict[str, object], _exchange(asked), "root's answer", _AGAIN)
        if "error" in answer:
            refused = Refused.from_json(answer, "root's answer", _AGAIN)
            raise CncpError(refused.error, refused.hint)
        return kind.from_json(answer, "root's answer", _AGAIN)


def peer(connection: socket.socket) -> int:
    """Return the user id of the process at the other end."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])


def reachable() -> bool:
    """Tell whether root is at hand, over the socket that was named."""
    with contextlib.suppress(OSError), _connected():
        return True
    return False


def began_by_root() -> bool:
    """Tell whether root runs this, or began it and is at hand."""
    return os.geteuid() == 0 or (BY_ROOT in os.environ and reachable())


def require(node: Node, sudo: str, verb: str) -> None:
    """Raise PreflightError, before anything is touched, where a step for this node is root's and root is not at hand.

    ``sudo`` is what `cncp.machine.facts.sudo` returned: how sudo runs a command here.
    """
    if node.scope != "system" or os.geteuid() == 0 or sudo != "none" or reachable():
        return
    # Code that is the account's own is none for root to run.
    kept = Path(node.home) in Path(node.source).parents
    script = "ROOTS_OWN_CHECKOUT/baremetal.sh" if kept else shlex.quote(f"{node.source}/baremetal.sh")
    raise PreflightError(
        f"{verb} needs root: units of the system keep this cluster, and sudo cannot ask for a password here",
        f"in a terminal sudo can ask; or, as root: CNCP_USER={node.account.name} bash {script} cncp {verb}",
    )


def _connected() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(_PATIENCE)
        made.connect(os.environ[AT_HAND])
        if peer(made) != 0:
            raise PermissionError("it is not root who listens there")
    except (KeyError, OSError) as error:
        made.close()
        raise OSError(str(error)) from None
    return made


def _exchange(asked: Request) -> bytes:
    try:
        with _connected() as connection:
            connection.sendall(json.dumps(asked.asked()).encode())
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        raise CncpError(f"root, who was at hand, gave no answer: {error}", _AGAIN) from None


_begun: list[Process] = []
"""Kept, because root is at hand until the standard input of this process ends."""


def _begin(account: Account) -> str:
    """Have root at hand, through sudo where this is not root; it asks on the terminal where it must. Return where."""
    sudo = _sudo() if os.geteuid() != 0 else []
    python = next((candidate for candidate in _PYTHONS if new_enough(candidate)), os.path.realpath(sys.executable))
    argv = [*sudo, python, "-I", "-B", str(SOURCE / "bootstrap" / "asroot.py"), "serve", account.name]
    # What sudo asks and says is for the terminal.
    begun = begin(argv, stdin=PIPE, stdout=PIPE, stderr=None)
    path = os.fsdecode(begun.stdout.readline().strip()) if begun.stdout else ""
    if not path:
        hint = "check that this account may use sudo, or leave the scope of the system: --scope user"
        raise CncpError(
            f"{argv[0]} did not let root help: it exited with {begun.wait()}",
            hint if sudo else "see what it said above",
        )
    _begun.append(begun)
    return path


def _sudo() -> list[str]:
    """Return the words that have sudo run a command."""
    if shutil.which("sudo") is None:
        raise PreflightError("this needs root, and there is no sudo", "run it as root, for this account: CNCP_USER")
    # Never where nobody would see the question.
    return ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]
