"""How a value that a user gave is read: each parser returns it in the one form that it is kept in, or raises Invalid.

It comes as a string from flags and the environment, as any TOML or JSON type from files. Standard library only, as the
table of settings (``config/settings.py``), whose entries these are.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PORTS_NEEDED = 18
"""Ports an ipcontroller binds with its default broadcast depth of 1: 9 for engines, 7 for clients
(registration is shared, so 15 together), 2 internal and the monitor (ipyparallel 9.2,
``IPController.init_hub``)."""

MANAGER = r"[a-z][a-z0-9_-]{0,39}"
"""What the name of a service manager can be."""

MANAGERS = ("auto", "systemd", "supervisor", "tmux", "screen")
"""The service managers that are ours, and the choice among them."""

_OWN = ("HOME", "USER", "LOGNAME", "IPYTHONDIR", "INVOCATION_ID", "JOURNAL_STREAM")
_OF_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR", "NUMBA")
_LONGEST = 100_000  # characters; a program is given at most 128 KiB in a variable (execve(2))

Value = str | int | bool


class Invalid(ValueError):
    """A value that a setting cannot take; its text completes the sentence "KEY must be ..."."""


def choice(*names: str) -> Callable[[Any], Value]:
    """Return what reads one of some words."""

    def parse(raw: Any) -> Value:
        if isinstance(raw, str) and raw in names:
            return raw
        close = difflib.get_close_matches(str(raw), names, 1)
        raise Invalid(f"one of {', '.join(names)}" + (f" (did you mean {close[0]}?)" if close else ""))

    return parse


def _number(raw: Any, low: int, high: int, unit: str = "") -> int:
    wanted = f"a whole number from {low} to {high}{unit and ' ' + unit}"
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,9}", raw):
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
        raise Invalid(wanted)
    return raw


def within(low: int, high: int, unit: str = "") -> Callable[[Any], Value]:
    """Return what reads a whole number with bounds; ``unit`` is for the error."""
    return lambda raw: _number(raw, low, high, unit)


def number_or(low: int, high: int, pattern: str, forms: str) -> Callable[[Any], Value]:
    """Return what reads a number with bounds, or a string that matches ``pattern``; ``forms`` says what that allows."""

    def parse(raw: Any) -> Value:
        if isinstance(raw, str) and re.fullmatch(pattern, raw):
            return raw
        try:
            return _number(raw, low, high)
        except Invalid as error:
            raise Invalid(f"{forms}, or {error}") from None

    return parse


def switch(raw: Any) -> Value:
    """Return whether it is on."""
    named = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in named:
        return named[raw.lower()]
    raise Invalid("true or false")


def profile(raw: Any) -> Value:
    """Return the name of a profile."""
    # It becomes part of folder names, unit names and session names.
    if isinstance(raw, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", raw):
        return raw
    raise Invalid("1 to 40 letters, digits, - and _, starting with a letter or digit")


def listen(raw: Any) -> Value:
    """Return the IPv4 address to listen on."""
    named = {"loopback": "127.0.0.1", "all": "0.0.0.0", "*": "0.0.0.0"}
    if isinstance(raw, str):
        try:
            return str(ipaddress.IPv4Address(named.get(raw, raw)))
        except ValueError:
            pass
    raise Invalid("loopback, all, or an IPv4 address of this machine")


def address(raw: Any) -> Value:
    """Return the name or address of a host as it stands."""
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if isinstance(raw, str) and len(raw) <= 253 and re.fullmatch(rf"{label}(\.{label})*\.?", raw):
        if re.fullmatch(r"[0-9.]+", raw):
            try:
                ipaddress.IPv4Address(raw)
            except ValueError:
                raise Invalid("auto, a host name or an IPv4 address") from None
        return raw
    raise Invalid("auto, a host name or an IPv4 address")


def ports(raw: Any) -> Value:
    """Return a range of ports as LOW-HIGH, or auto."""
    if raw == "auto":
        return "auto"
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", raw) if isinstance(raw, str) else None
    if match:
        low, high = int(match[1]), int(match[2])
        if low >= 1024 and high <= 65535 and high - low + 1 >= PORTS_NEEDED:
            return f"{low}-{high}"
    raise Invalid(f"auto, or a range LOW-HIGH of at least {PORTS_NEEDED} ports from 1024 to 65535")


def memory(raw: Any) -> Value:
    """Return a size as it stands, or none."""
    if raw == "none":
        return "none"
    match = re.fullmatch(r"([1-9][0-9]{0,6})([MG])", raw) if isinstance(raw, str) else None
    # Below 128 MB an engine does not get through its own imports.
    if match and (match[2] == "G" or int(match[1]) >= 128):
        return match[0]
    raise Invalid("none, or a size of at least 128M such as 512M or 4G")


def manager(raw: Any) -> Value:
    """Return one of ours, or the name of one of another package, which is looked for where that can be installed."""
    # What is nearly one of ours is no other's.
    if raw not in MANAGERS and not (
        isinstance(raw, str) and re.fullmatch(MANAGER, raw) and not difflib.get_close_matches(raw, MANAGERS, 1, 0.85)
    ):
        choice(*MANAGERS)(raw)
    return str(raw)


def environment(raw: Any) -> Value:
    """Return variables as words of a shell, in order: A=1 'B=two words'."""
    wanted = 'a table of variables (NAME = "value"), words NAME=value, @FILE with such words, or none'
    if isinstance(raw, str):
        raw = _of_words("" if raw == "none" else raw, wanted)
    if not isinstance(raw, Mapping):
        raise Invalid(wanted)
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            raise Invalid(f"{wanted}; {str(name)!r} is no name of a variable")
        if str(name).startswith("CNCP_") or name in _OWN:
            raise Invalid(f"without {name}, which cncp sets")
        if name in {f"{program}_NUM_THREADS" for program in _OF_THREADS}:
            raise Invalid(f"without {name}, which follows from the setting threads")
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value):
            raise Invalid(f"{wanted}; {name} must be a text or a number")
        if len(str(value)) > _LONGEST:
            raise Invalid(f"shorter: the value of {name} has more than {_LONGEST} characters")
    return shlex.join(f"{name}={raw[name]}" for name in sorted(raw)) or "none"


def _of_words(text: str, wanted: str) -> dict[str, str]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:
            raise Invalid(f"{wanted}; the file cannot be read: {getattr(error, 'strerror', '') or error}") from None
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise Invalid(f"{wanted}: {error}") from None
    if not all("=" in word for word in words):
        raise Invalid(wanted)
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def requirements(raw: Any) -> Value:
    """Return the path or URL of a requirements file as it stands, or none."""
    if isinstance(raw, str) and raw and not re.search(r"[\x00-\x1f]", raw):
        if "://" in raw and not raw.startswith("https://"):
            raise Invalid("none, the path of a requirements file, or an https:// URL of one")
        if not raw.startswith("-"):
            return raw
    raise Invalid("none, the path of a requirements file, or an https:// URL of one")
