"""What a host may answer: a shape for each answer, held once, before anything uses what is in it.

A host may run another version, have a wrapper around a command of ours, or be somebody else's by now.
What does not fit is that host's failure and no one else's: what is missing, of another type, or beyond any
sense, text with control characters in it, a key that is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from cncp import remote
from cncp.errors import shown
from cncp.ipp.keys import ENGINE_CHANNELS
from cncp.shape import Misfit, parse
from cncp.ssh import keypair
from cncp.ssh.host_errors import HostError

Shape = Callable[[Any], Any]
"""Takes what came and returns what is to be used. Raises Odd."""

_MOST = 64 * 2**20  # bytes of an answer; 1024 hosts of 100 engines are a sixth of that
_MANY = 200_000  # members of a list or table


class Odd(Exception):
    """Something in an answer is not as it has to be; it says what it should be."""


def text(most: int = 4096, kept: str = "") -> Shape:
    """Text for people; what a terminal would take for an order is shown as escapes, but for ``kept``."""

    def read(it: Any) -> str:
        if not isinstance(it, str) or len(it) > most:
            raise Odd(f"text of up to {most} characters")
        return shown(it, kept)

    return read


def exactly(pattern: str, wanted: str) -> Shape:
    """Text that means something to programs: all of it fits, or none is taken."""
    compiled = re.compile(pattern)

    def read(it: Any) -> str:
        if not isinstance(it, str) or not compiled.fullmatch(it):
            raise Odd(wanted)
        return it

    return read


def whole(least: int, most: int) -> Shape:
    """A whole number within bounds."""

    def read(it: Any) -> int:
        if isinstance(it, bool) or not isinstance(it, int) or not least <= it <= most:
            raise Odd(f"a whole number from {least} to {most}")
        return it

    return read


def number(least: float, most: float) -> Shape:
    """A number within bounds."""

    def read(it: Any) -> float:
        if isinstance(it, bool) or not isinstance(it, int | float) or not least <= it <= most or math.isnan(it):
            raise Odd(f"a number from {least:g} to {most:g}")
        return float(it)

    return read


def switch(it: Any) -> bool:
    """True or false."""
    if not isinstance(it, bool):
        raise Odd("true or false")
    return it


def key(it: Any) -> str:
    """The public key of an sshd."""
    if not isinstance(it, str) or not keypair.is_public(it):
        raise Odd("a public key")
    return it


def tunnel_key(it: Any) -> str:
    """The public key that a host's tunnels log in with: nothing else is ever let in."""
    if not isinstance(it, str) or len(it.splitlines()) > 1:
        raise Odd("a public key of ed25519")
    identity = " ".join(it.split()[:2])
    if identity and not keypair.is_public_ed25519(identity):
        raise Odd("a public key of ed25519")
    return identity


def optional(shape: Shape) -> Shape:
    """Null, or what the shape says."""
    return lambda it: None if it is None else shape(it)


def listing(shape: Shape, most: int = _MANY, least: int = 0) -> Shape:
    """A list."""

    def read(it: Any) -> list[Any]:
        if not isinstance(it, list) or not least <= len(it) <= most:
            raise Odd(f"a list of {least} to {most}")
        return [shape(one) for one in it]

    return read


def table(shape: Shape, name: Shape, most: int = _MANY) -> Shape:
    """An object with members of one kind, whose names have a shape as well."""

    def read(it: Any) -> dict[str, Any]:
        if not isinstance(it, dict) or len(it) > most:
            raise Odd(f"an object of up to {most} members")
        return {name(one): shape(value) for one, value in it.items()}

    return read


def anything(depth: int = 16) -> Shape:
    """Whatever JSON has, not nested too deeply to be written again; for what is handed on as JSON."""

    def read(it: Any) -> Any:
        if isinstance(it, dict | list):
            if not depth:
                raise Odd("less deep")
            inside = anything(depth - 1)
            return {one: inside(it[one]) for one in it} if isinstance(it, dict) else [inside(one) for one in it]
        return it

    return read


def record(fields: Mapping[str, Shape], others: Mapping[str, Any] | None = None, rest: Shape | None = None) -> Shape:
    """An object with these members; what it has besides is dropped, or has the shape ``rest``.

    ``others`` are members that may be missing, and what they are then.
    """
    missing = dict(others or {})

    def read(it: Any) -> dict[str, Any]:
        if not isinstance(it, dict):
            raise Odd("an object")
        found = {} if rest is None else {one: rest(value) for one, value in it.items() if one not in fields}
        for one, shape in fields.items():
            if one not in it and one not in missing:
                raise Odd(f"right: {one} is missing")
            try:
                found[one] = shape(it[one]) if one in it else missing[one]
            except Odd as odd:
                raise Odd(str(odd) if str(odd).startswith("right: ") else f"right: {one} is to be {odd}") from None
        # In the order in which it came, so that what goes on is written as it was.
        return {one: found[one] for one in dict.fromkeys((*it, *found)) if one in found}

    return read


def read(host: str, raw: bytes, shape: Shape, hint: str = "") -> Any:
    """Return what a host answered, which is one value of JSON. Raises HostError."""
    hint = hint or f"see that the same cncp is there: cncp up --limit {host}; and what it prints: ssh {host} true"
    if len(raw) > _MOST:
        raise HostError(host, f"its answer has {len(raw)} bytes", hint)
    try:
        value = parse(raw)
    except Misfit:
        raise HostError(host, "its answer is not readable", hint) from None
    try:
        return shape(value)
    except Odd as odd:
        raise HostError(host, f"its answer is not readable: {odd}", hint) from None


def of_another_version(host: str) -> HostError:
    """Return the error of a host that has another cncp than this machine."""
    return HostError(host, "its cncp is of another version than the one here", "bring it this one: cncp up")


def of_remote(host: str, raw: bytes) -> bytes:
    """Return the answer of a verb of `cncp.remote`. Raises HostError where it was not given in this protocol."""
    # Something may have been printed before; and what has begun anew has said it twice.
    greetings = list(re.finditer(rb"(?m)^%b (\d{1,9})\n" % re.escape(remote.GREETING.encode()), raw))
    if not greetings or int(greetings[-1][1]) != remote.PROTOCOL:
        raise of_another_version(host)
    return raw[greetings[-1].end() :]


def read_remote(host: str, raw: bytes, shape: Shape) -> Any:
    """Return what a verb of `cncp.remote` answered, which is one value of JSON. Raises HostError."""
    return read(host, of_remote(host, raw), shape)


def of_object(raw: bytes) -> bytes:
    """Return what begins with an object, where something may have been printed before."""
    return raw[max(0, raw.find(b"{")) :]


NAME = exactly(r"[A-Za-z0-9_.:@-]{1,255}", "a name")
PATH = exactly(r"/[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,4095}", "an absolute path")
ADDRESS = exactly(r"[A-Za-z0-9_.:%-]{1,255}", "an address")
_WORD = exactly(r"[A-Za-z0-9_.+()/ -]{0,64}", "a word")
_DIGEST = exactly(r"[0-9A-Za-z]{0,128}", "a digest")
_UUID = exactly(r"[A-Za-z0-9_.-]{0,255}", "the identity of an engine")
_PORT = whole(1, 65535)
_BYTES = whole(0, 2**63)
_NUMBER = whole(0, 2**31)

NOTHING = record({})

PROBE = record(
    {
        "addresses": listing(ADDRESS, 1024),
        "clock": number(0, 1e11),
        "code": table(_DIGEST, text(), 16),
        "cores": whole(1, 2**20),
        "free": _BYTES,
        "from": exactly(r"[A-Za-z0-9_.:%-]{0,255}", "an address"),
        "home": PATH,
        "home_id": listing(whole(-(2**80), 2**80), 2, 2),
        "host": text(255),
        "libc": listing(_WORD, 2, 2),
        "machine": _DIGEST,
        "made_with": table(text(), text(), 16),
        "processor": exactly(r"[A-Za-z0-9_.-]{1,64}", "a kind of processor"),
        "python": PATH,
        "real_python": PATH,
        "tunnels": listing(PATH, 4096),
        "user": exactly(
            r"[^\s\x00-\x2d;<>`|(){}\x7f-\x9f][^\s\x00-\x1f\"'&;<>`|(){}\x7f-\x9f]{0,255}", "the name of an account"
        ),
        "version": listing(whole(0, 2**16), 3, 3),
        "writable": switch,
    }
)
MARKS = record({"names": listing(NAME, 4096)})
OPEN = record({"open": table(listing(_PORT, 4096), ADDRESS, 4096)})
HOST_KEYS = record({"keys": listing(key, 64)})

HARDWARE = record(
    {
        "cores": whole(1, 2**20),
        "cpu": text(255),
        "disk_free": _BYTES,
        "gpus": listing(text(255), 1024),
        "home": text(),
        "kernel": text(255),
        "load": number(0, 1e9),
        "memory": whole(1, 2**63),
        "numa": whole(1, 2**20),
        "os": text(255),
        "pythons": listing(exactly(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", "a version"), 64),
        "sockets": whole(1, 2**20),
        "systemd": switch,
        "users": listing(text(255), 65536),
    }
)


def _paired(it: Any) -> Any:
    found = _REPORT(it)
    if len(found["engines"]) != len(found["uuids"]):
        raise Odd("right: engines and uuids are to be as many")
    return found


_REPORT = record(
    {
        "answering": listing(_NUMBER),
        "changed": switch,
        "converge": text(64),
        "converge_why": text(),
        "engines": listing(_NUMBER),
        "jupyter": optional(text()),
        "profile": exactly(r"[A-Za-z0-9_.-]{1,255}", "the name of a profile"),
        "profile_dir": PATH,
        "scope": text(64),
        "service_manager": text(64),
        "uuids": listing(_UUID),
        "why": text(),
        "seconds": table(number(0, 1e9), exactly(r"[a-z-]{1,64}", "a phase"), 64),
    },
    {"answering": [], "converge": "", "converge_why": "", "jupyter": None, "why": "", "seconds": {}},
)

REPORT: Shape = _paired
TUNNELS = record({"changed": switch, "public": tunnel_key})
ROLL_CALL = record(
    {
        "controller": switch,
        "engines": table(
            record(
                {"id": _NUMBER, "state": exactly("idle|busy|silent", "a state"), "busy": number(0, 1e12)},
                {"busy": 0.0},
            ),
            _UUID,
        ),
    }
)
STATUS = listing(
    record(
        {
            "name": NAME,
            "host": text(255),
            "id": optional(_NUMBER),
            "pid": whole(0, 2**31),
            "state": text(64),
            "uptime": number(0, 1e12),
            "memory": _BYTES,
            "cpu": number(0, 1e15),
            "restarts": whole(0, 2**63),
            "last_exit": text(),
            "uuid": _UUID,
            "busy": number(0, 1e12),
        },
        {"uuid": "", "busy": 0.0},
    )
)
FINDINGS = listing(record({"what": text(), "remedy": text()}), 10_000)
ROTATED = record({"before": text(64), "after": text(64), "running": switch, "engines": _NUMBER})
JUPYTER = record({"port": _PORT, "token": exactly(r"[A-Za-z0-9_-]{1,255}", "a token")})
PLANNED = table(anything(), text(255))

_CHANNEL = whole(1, 65535)
ENGINE_FILE = record(
    {
        "key": exactly(r"[\x20-\x7e]{0,1024}", "a key"),
        "interface": exactly(r"tcp://[A-Za-z0-9_.:*%-]{1,255}", "an address of TCP"),
        "location": exactly(r"[A-Za-z0-9_.:%-]{0,255}", "an address"),
        **dict.fromkeys(set(ENGINE_CHANNELS) - {"broadcast"}, _CHANNEL),
        "broadcast": listing(_CHANNEL, 2, 2),
    },
    rest=anything(4),
)
"""The engines' connection file, which goes on to them whole."""
