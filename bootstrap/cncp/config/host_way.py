"""The way to a host, as files say it: for ssh, and for its engines to their controller. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cncp.config.hostlist import HOST


def _words(raw: Any, pattern: str, wanted: str) -> str:
    # None of these may begin with a dash: they stand on ssh's command line.
    if isinstance(raw, str) and re.fullmatch(pattern, raw):
        return raw
    raise ValueError(wanted)


def _user(raw: Any) -> str:
    return _words(raw, r"[A-Za-z0-9._][A-Za-z0-9._-]{0,63}", "the name of an account")


def _port(raw: Any) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= 65535:
        raise ValueError("a number from 1 to 65535")
    return raw


def _jump(raw: Any) -> str:
    host = HOST.pattern.replace("?P<user>", "?:").replace("?P<name>", "?:").replace("?P<port>", "?:")
    return _words(raw, f"{host}(?:,{host})*", "a host, or hosts with commas, as in ssh -J")


def _python(raw: Any) -> str:
    return _words(raw, r"[/A-Za-z0-9_~][^\x00-\x1f]*", "the path or name of a Python on that host")


def _address(raw: Any) -> str:
    return _words(raw, r"[A-Za-z0-9_:][A-Za-z0-9._:-]*", "a host name or an address")


def _connect(raw: Any) -> str:
    if raw not in CONNECT:
        raise ValueError(", ".join(CONNECT[:-1]) + f" or {CONNECT[-1]}")
    return str(raw)


def _offline(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError("true or false")  # noqa: TRY004  # as the other parsers say it
    return raw


CONNECT = DIRECT, FORWARD, REVERSE = ("direct", "forward", "reverse")
"""How engines reach the controller: by themselves, or through an ssh that their machine keeps, or the controller's."""

OF_SSH: dict[str, Callable[[Any], Any]] = {
    "user": _user,
    "port": _port,
    "jump": _jump,
    "python": _python,
    "address": _address,
    "offline": _offline,
    "connect": _connect,
}
"""What concerns the way to a host and not what runs there."""
