"""What root does for an account's cluster: units of fixed names, lingering, Cinc; and nothing besides.

The rule: root never runs, and never believes, what the account can write. What an account asks for is a
record of a few fields, each of which is checked here. The units are rendered here, from root's own code, and all of
them run as that account; names are those of `cncp.machine.services.kinds` below one prefix, which no other account's
cluster may have. No path, no content and no command of a request is ever used. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cncp.accounts import Account
from cncp.config import sources
from cncp.errors import CncpError
from cncp.files import to_json
from cncp.machine.actor import Actor
from cncp.machine.converge import cinc, embedded
from cncp.machine.node import Node
from cncp.machine.resources import File
from cncp.machine.root.authority import peer
from cncp.machine.root.requests import (
    PREFIX,
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
)
from cncp.machine.services import kinds, systemd
from cncp.process import run
from cncp.records import Record, read

CODE = Path("/usr/local/lib/cncp")
"""Where root keeps the code of a script that stands alone: a folder an account."""

_LIMIT = 1 << 20
"""Bytes of a request."""

_PATIENCE = 20.0
"""Seconds in which a request has to be there."""

_ASKED, _HINT = "what root was asked for", "use cncp itself"
_ROOT = Account("root", 0, 0, "/root")

_leaving: set[str] = set()
"""Accounts whose code goes when this process ends."""


def perform(account: Account, asked: Mapping[str, object]) -> Record:
    """Do what an account asks for. Raises CncpError, with nothing done, on anything that is not in the list."""
    for kind, step in _STEPS.items():
        if asked.get("do") == kind.do:
            return step(account, kind.from_json(asked, _ASKED, _HINT))
    raise CncpError("root was asked for what makes no sense", _HINT)


def serve(account: Account, listening: socket.socket) -> None:
    """Answer the account's requests, one a connection, for as long as this process lives."""
    while True:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE)
            if peer(connection) in (0, account.uid):
                connection.sendall(to_json(_answer(account, _received(connection))))


def leave(account: Account) -> None:
    """Remove the code that root kept for an account whose cluster was uninstalled meanwhile."""
    if account.name in _leaving:
        shutil.rmtree(CODE / account.name, ignore_errors=True)
        with contextlib.suppress(OSError):
            CODE.rmdir()


def _received(connection: socket.socket) -> bytes:
    content = b""
    while len(content) <= _LIMIT and (piece := connection.recv(65536)):
        content += piece
    return content


def _answer(account: Account, content: bytes) -> Record:
    try:
        return perform(account, read(dict[str, object], content, _ASKED, _HINT))
    except CncpError as error:
        return Refused(error.message, error.hint)
    except OSError as error:
        return Refused(f"root's step: {error}", "mend that, then run this again")


def _units(account: Account, asked: Units) -> Changed:
    """Have exactly the units that a node's services need."""
    node = _node(account, asked)
    services = {_service(name): digest for name, digest in asked.services.items()}
    _own(account, node.prefix)
    systemd.check_owner(node)
    wanted = list(systemd.files(node, services))
    for resource in wanted:
        if isinstance(resource, File):
            _refuse_foreign(Path(resource.path), account)
    changed = embedded.changes(wanted)
    embedded.apply(changed, Actor(_ROOT))
    gone = [Path(path) for path in systemd.stale(node.prefix, {resource.path for resource in wanted})]
    _take_away(gone, account)
    said = (*(f"{change.action} {change.path}" for change in changed), *(f"remove {path}" for path in gone))
    if said:
        _ran(["systemctl", "daemon-reload"])
    return Changed(said)


def _remove(account: Account, asked: Remove) -> Changed:
    """Remove all units of a prefix; of an uninstalled cluster root's own copy of the code as well."""
    _own(account, asked.prefix)
    gone = [Path(path) for path in systemd.stale(asked.prefix, set())]
    _take_away(gone, account)
    with contextlib.suppress(OSError):
        (systemd.SYSTEM / "default.target.wants").rmdir()
    if asked.all:
        _leaving.add(account.name)
    return Changed(tuple(f"remove {path}" for path in gone))


def _disable(account: Account, asked: Disable) -> Changed:
    """Take the target of a prefix out of the boot."""
    _own(account, asked.prefix)
    boot = systemd.SYSTEM / "default.target.wants" / f"{asked.prefix}.target"
    if boot.is_symlink():
        boot.unlink()
    return Changed()


def _systemctl(account: Account, asked: Systemctl) -> Ran:
    """Run systemctl on units of a prefix, without names on its target; or have systemd read all units anew."""
    if asked.verb == "daemon-reload":
        return _ran(["systemctl", "daemon-reload"])
    _own(account, asked.prefix)
    units = [kinds.unit(asked.prefix, _service(name)) for name in asked.names] or [f"{asked.prefix}.target"]
    wait = ["--no-block"] if asked.verb in ("start", "restart") else []
    return _ran(["systemctl", asked.verb, *wait, "--", *units])


def _linger(account: Account, asked: Linger) -> Ran:
    """Turn the account's lingering on or off."""
    return _ran(["loginctl", "enable-linger" if asked.on else "disable-linger", account.name])


def _cinc(_account: Account, _asked: InstallCinc) -> Installed:
    """Install Cinc, which root itself fetches and checks."""
    return Installed(str(cinc.install(lambda _: None)))


_STEPS: Mapping[type[Request], Callable[[Account, Any], Record]] = {
    Units: _units,
    Remove: _remove,
    Disable: _disable,
    Systemctl: _systemctl,
    Linger: _linger,
    InstallCinc: _cinc,
}
"""All that root does: what is asked for, and what does it."""


def _ran(argv: list[str]) -> Ran:
    done = run(argv, check=False, timeout=120)
    return Ran(done.status, (done.stderr or done.stdout).strip()[-1000:])


def _node(account: Account, said: Units) -> Node:
    """Return a node of which units can be rendered, and which is this account's. Raises CncpError."""
    # No other setting is in a unit; some of them would have a file be read.
    settings = sources.recorded({"profile": said.profile, "memory": said.memory})
    made = Node(
        settings=settings,
        account=dataclasses.replace(account, home=said.login),
        host=said.host,
        home=said.home,
        profile_dir="",
        source="",
        manager="systemd",
        scope="system",
        why="",
        controller=False,
        engine_ids=(),
        threads=1,
        gpus=(),
        location="",
        instance=said.instance,
    )
    if re.fullmatch(PREFIX, made.prefix) is None:
        raise CncpError("root was asked for units of names that are none of ours", _HINT)
    return made


def _service(name: str) -> str:
    if not kinds.known(name):
        raise CncpError(f"root was asked for {name[:100]!r}, which is no service", _HINT)
    return name


def _own(account: Account, prefix: str) -> None:
    """Raise CncpError where units of this prefix serve another account."""
    for kind in kinds.KINDS.values():
        first = systemd.first_line(systemd.SYSTEM / f"{prefix}-{kind.unit}.d" / systemd.DROP_IN)
        if first and not first.startswith(systemd.written_for(account.name)):
            raise CncpError(
                f"{prefix}-{kind.unit} is another cluster's: {first.removeprefix('# ')}",
                "give this one a name of its own with --profile, or use --scope user",
            )


def _refuse_foreign(path: Path, account: Account) -> None:
    """Raise CncpError where something stands in the place of a unit that is none of ours."""
    if path.is_symlink():
        raise CncpError(f"{path} is a link: it is masked, or an administrator's", f"systemctl unmask {path.name}")
    first = systemd.first_line(path)
    if first and not first.startswith(("# Installed by cncp as ", systemd.written_for(account.name))):
        raise CncpError(f"{path} is there, and not of cncp's making", "move it away, or use another --profile")


def _take_away(paths: list[Path], account: Account) -> None:
    """Remove units and links of ours, and their folders where nothing of others is in them."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.is_symlink():
            path.unlink()
        else:
            _refuse_foreign(path, account)
            path.unlink(missing_ok=True)
