"""The uuids of our engines: HOST_NUMBER_PROCESS, so that a restarted engine is known as the same.

ipyparallel makes a name of a Python variable of them (``IPythonParallelKernel.do_apply``, of a message
that was broadcast), so they hold letters, digits, ``-`` and ``_`` alone.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cncp import pidfile

_FORMS = (
    re.compile(r"(?P<host>[A-Za-z0-9-]+)_(?P<number>\d+)_[0-9a-f]{12}"),
    # Until 0.1: engines of before an upgrade are in the controller's table, and may still run.
    re.compile(r"(?P<host>[A-Za-z0-9-]+)\.(?P<number>\d+)\.[0-9a-f]{12}"),
)


def host_in(name: str) -> str:
    """Return the form that a host's name has in uuids."""
    return re.sub(r"[^A-Za-z0-9-]", "-", name)


def uuid_of(host: str, number: int, pid: int) -> str:
    """Return the uuid of an engine of this host and number: one a process, and the same whoever makes it.

    Of a process that has lost its record it can be told from outside.
    """
    # A process is a number and the time of its start (since boot): proc(5).
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    process = hashlib.sha256(b"%b %d %d" % (boot, pid, pidfile.started(pid))).hexdigest()
    # ZeroMQ identities are at most 255 bytes; a host name has at most 64 on Linux.
    return f"{host_in(host)}_{number}_{process[:12]}"


def former_uuid(uuid: str) -> str:
    """Return the uuid of one of our engines as a controller of before 0.1 knows it; others are as they are."""
    match = _FORMS[0].fullmatch(uuid)
    return uuid.replace("_", ".") if match else uuid


def slot(uuid: str) -> tuple[str, int] | None:
    """Return (host, number) of one of our engines, None for an engine that others started."""
    match = next(filter(None, (form.fullmatch(uuid) for form in _FORMS)), None)
    return (match["host"], int(match["number"])) if match else None
