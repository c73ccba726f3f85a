"""What root does for an account's cluster: units of fixed names, lingering, Cinc; and nothing besides.

The rule: root never runs, and never believes, what the account can write. What an account asks for is a
record of a few fields, each of which is checked here. The units are rendered here, from root's own code, and all of
them run as that account; names are those of `cncp.machine.services.kinds` below one prefix, which no other account's
cluster may have. No path, no content and no command of a request is ever used. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cncp.accounts import Account
from cncp.config import sources
from cncp.errors import CncpError
from cncp.machine.actor import Actor
from cncp.machine.converge import cinc, embedded
from cncp.machine.node import Node
from cncp.machine.resources import File
from cncp.machine.root.authority import peer
from cncp.machine.services import kinds, systemd
from cncp.process import run

CODE = Path("/usr/local/lib/cncp")
"""Where root keeps the code of a script that stands alone: a folder an account."""

_LIMIT = 1 << 20
"""Bytes of a request."""

_PATIENCE = 20.0
"""Seconds in which a request has to be there."""

_PREFIX = re.compile(r"cncp(-[A-Za-z0-9][A-Za-z0-9_.-]{0,100})?")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_VERBS = ("start", "stop", "restart", "reset-failed")
_ROOT = Account("root", 0, 0, "/root")

_leaving: set[str] = set()
"""Accounts whose code goes when this process ends."""


def perform(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Do what an account asks for. Raises CncpError, with nothing done, on anything that is not in the list."""
    steps: Mapping[str, Callable[[Account, Mapping[str, Any]], dict[str, Any]]] = {
        "units": _units,
        "remove": _remove,
        "disable": _disable,
        "systemctl": _systemctl,
        "linger": _linger,
        "cinc": _cinc,
    }
    try:
        return steps[asked["do"]](account, asked)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CncpError(f"root was asked for what makes no sense: {error!r}", "use cncp itself") from None


def serve(account: Account, listening: socket.socket) -> None:
    """Answer the account's requests, one a connection, for as long as this process lives."""
    while True:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE)
            if peer(connection) in (0, account.uid):
                connection.sendall(json.dumps(_answer(account, _received(connection))).encode())


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


def _answer(account: Account, content: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(content)
        return perform(account, asked if isinstance(asked, dict) else {})
    except CncpError as error:
        return {"error": error.message, "hint": error.hint}
    except OSError as error:
        return {"error": f"root's step: {error}", "hint": "mend that, then run this again"}
    except (ValueError, RecursionError):
        return {"error": "root was asked for what is no JSON", "hint": "use cncp itself"}


def _units(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Have exactly the units that a node's services need."""
    node = _node(account, asked)
    services = {_service(name): _matching(r"[0-9a-f]{1,64}", digest) for name, digest in asked["services"].items()}
    _own(account, node.prefix)
    systemd.check_owner(node)
    wanted = list(systemd.files(node, services))
    for one in wanted:
        if isinstance(one, File):
            _refuse_foreign(Path(one.path), account)
    changed = embedded.changes(wanted)
    embedded.apply(changed, Actor(_ROOT))
    gone = [Path(one) for one in systemd.stale(node.prefix, {one.path for one in wanted})]
    _take_away(gone, account)
    said = [f"{one.what} {one.path}" for one in changed] + [f"remove {one}" for one in gone]
    if said:
        _ran(["systemctl", "daemon-reload"])
    return {"changed": said}


def _remove(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Remove all units of a prefix; of an uninstalled cluster root's own copy of the code as well."""
    prefix = _matching(_PREFIX, asked["prefix"])
    _own(account, prefix)
    gone = [Path(one) for one in systemd.stale(prefix, set())]
    _take_away(gone, account)
    with contextlib.suppress(OSError):
        (systemd.SYSTEM / "default.target.wants").rmdir()
    if asked["all"]:
        _leaving.add(account.name)
    return {"changed": [f"remove {one}" for one in gone]}


def _disable(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Take the target of a prefix out of the boot."""
    prefix = _matching(_PREFIX, asked["prefix"])
    _own(account, prefix)
    boot = systemd.SYSTEM / "default.target.wants" / f"{prefix}.target"
    if boot.is_symlink():
        boot.unlink()
    return {}


def _systemctl(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Run systemctl on units of a prefix, without names on its target; or have systemd read all units anew."""
    if asked["verb"] == "daemon-reload":
        return _ran(["systemctl", "daemon-reload"])
    prefix, verb = _matching(_PREFIX, asked["prefix"]), asked["verb"]
    if verb not in _VERBS:
        raise ValueError(verb)
    _own(account, prefix)
    units = [kinds.unit(prefix, _service(name)) for name in asked["names"]] or [f"{prefix}.target"]
    return _ran(["systemctl", verb, *(["--no-block"] if verb in ("start", "restart") else []), "--", *units])


def _linger(account: Account, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the account's lingering on or off."""
    return _ran(["loginctl", "enable-linger" if asked["on"] is True else "disable-linger", account.name])


def _cinc(_account: Account, _asked: Mapping[str, Any]) -> dict[str, Any]:
    """Install Cinc, which root itself fetches and checks."""
    return {"program": str(cinc.install(lambda _: None))}


def _ran(argv: list[str]) -> dict[str, Any]:
    done = run(argv, check=False, timeout=120)
    return {"status": done.status, "said": (done.stderr or done.stdout).strip()[-1000:]}


def _node(account: Account, said: Mapping[str, Any]) -> Node:
    """Return a node of which units can be rendered, and which is this account's."""
    home, login = _plain(said["home"]), _plain(said["login"])
    if not os.path.isabs(home) or not os.path.isabs(login):
        raise ValueError(home)
    # No other setting is in a unit; some of them would have a file be read.
    settings = sources.recorded({name: _plain(said[name]) for name in ("profile", "memory")})
    made = Node(
        settings=settings,
        account=dataclasses.replace(account, home=login),
        host=_matching(_HOST, said["host"]),
        home=home,
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
        instance=_matching(_HOST, said["instance"]) if said["instance"] else "",
    )
    _matching(_PREFIX, made.prefix)
    return made


def _plain(word: Any) -> str:
    """Refuse what would end a line of a unit file."""
    if not isinstance(word, str) or len(word) > 65536 or any(ord(one) < 32 or ord(one) == 127 for one in word):
        raise ValueError(f"{word!r:.100}")
    return word


def _matching(pattern: str | re.Pattern[str], word: Any) -> str:
    if not isinstance(word, str) or re.fullmatch(pattern, word) is None:
        raise ValueError(f"{word!r:.100}")
    return word


def _service(name: Any) -> str:
    if not isinstance(name, str) or not kinds.known(name):
        raise ValueError(f"{name!r:.100}")
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
