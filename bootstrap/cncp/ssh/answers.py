"""What a host answers: read as a record, once, before anything uses what is in it.

A host may run another version, have a wrapper around a command of ours, or be somebody else's by now.
What does not fit is that host's failure and no one else's: what is missing, of another type, or beyond any
sense, text with control characters in it, a key that is none.
"""

from __future__ import annotations

import re
from typing import TypeVar

from cncp import records, remote
from cncp.records import Misfit
from cncp.ssh.host_errors import HostError

T = TypeVar("T")

_MOST = 64 * 2**20  # bytes of an answer; 1024 hosts of 100 engines are a sixth of that


def read(host: str, raw: bytes, kind: type[T], hint: str = "") -> T:
    """Return what a host answered, which is one value of JSON. Raises HostError."""
    hint = hint or f"see that the same cncp is there: cncp up --limit {host}; and what it prints: ssh {host} true"
    if len(raw) > _MOST:
        raise HostError(host, f"its answer has {len(raw)} bytes", hint)
    try:
        return records.read(kind, raw, "its answer", hint)
    except Misfit as error:
        raise HostError(host, error.message, hint) from None


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


def read_remote(host: str, raw: bytes, kind: type[T]) -> T:
    """Return what a verb of `cncp.remote` answered, which is one value of JSON. Raises HostError."""
    return read(host, of_remote(host, raw), kind)


def of_object(raw: bytes) -> bytes:
    """Return what begins with an object, where something may have been printed before."""
    return raw[max(0, raw.find(b"{")) :]
