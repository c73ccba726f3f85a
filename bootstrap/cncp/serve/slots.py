"""The uuids of our engines: HOST_NUMBER_RANDOM, so that a restarted engine is known as the same.

ipyparallel makes a name of a Python variable of them (``IPythonParallelKernel.do_apply``, of a message
that was broadcast), so they hold letters, digits, ``-`` and ``_`` alone.
"""

from __future__ import annotations

import re
import secrets

_FORMS = (
    re.compile(r"(?P<host>[A-Za-z0-9-]+)_(?P<number>\d+)_[0-9a-f]{12}"),
    # Until 0.1: engines of before an upgrade are in the controller's table, and may still run.
    re.compile(r"(?P<host>[A-Za-z0-9-]+)\.(?P<number>\d+)\.[0-9a-f]{12}"),
)


def host_in(name: str) -> str:
    """Return the form that a host's name has in uuids."""
    return re.sub(r"[^A-Za-z0-9-]", "-", name)


def new_uuid(host: str, number: int) -> str:
    """Return a fresh uuid for an engine of this host and number."""
    # ZeroMQ identities are at most 255 bytes; a host name has at most 64 on Linux.
    return f"{host_in(host)}_{number}_{secrets.token_hex(6)}"


def slot(uuid: str) -> tuple[str, int] | None:
    """Return (host, number) of one of our engines, None for an engine that others started."""
    match = next(filter(None, (form.fullmatch(uuid) for form in _FORMS)), None)
    return (match["host"], int(match["number"])) if match else None
