"""The hardware of all hosts: looked at, kept as JSON a host, shown as a table or CSV."""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cncp.config.inventory import HostSpec
from cncp.errors import CncpError
from cncp.files import make_home, read_json, to_json, write_atomic
from cncp.fleet import hardware
from cncp.ssh import answers
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Outcome
from cncp.ssh.rpc import answer

HEADER = (
    "HOST",
    "CPU",
    "CORES",
    "SOCKETS",
    "NUMA",
    "MEMORY",
    "GPUS",
    "PYTHON",
    "OS",
    "KERNEL",
    "LOAD",
    "USERS",
    "FREE",
)
FIELDS = tuple("cpu cores sockets numa memory gpus pythons os kernel load users disk_free systemd home".split())  # noqa: SIM905
"""Columns of the CSV after the host's name, in bytes and words."""

_SOURCE = inspect.getsource(hardware)
_FIND = """
for python in "$1" python3 python; do
    [ -n "$python" ] && command -v "$python" >/dev/null 2>&1 && exec "$python" -I -
done
exit 97
"""
_NO_PYTHON = ("there is no Python 3", "install python3 there, or name one: python = ... in its pool")


def look(host: Host, timeout: float) -> dict[str, Any]:
    """Look at a host. Raises HostError."""
    argv = ["sh", "-c", _FIND, "sh", host.spec.python]
    return answer(host, argv, answers.HARDWARE, _NO_PYTHON, _SOURCE.encode(), timeout)


def _path(home: Path, name: str) -> Path:
    return home / "facts" / f"{name}.json"


def keep(home: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what was found, a file a host."""
    make_home(home)
    (home / "facts").mkdir(mode=0o700, exist_ok=True)
    for name, facts in found.items():
        write_atomic(_path(home, name), to_json(facts), 0o600)


def kept(home: Path, specs: tuple[HostSpec, ...]) -> Outcome[dict[str, Any]]:
    """Return what was found the last time; hosts that were never looked at are failures."""
    found: dict[str, dict[str, Any]] = {}
    failures: dict[str, CncpError] = {}
    for spec in specs:
        try:
            found[spec.name] = answers.HARDWARE(read_json(_path(home, spec.name)))
        except answers.Odd:
            failures[spec.name] = HostError(spec.name, "nothing is known of it", "leave --cached out once")
    return Outcome(found, failures)


def rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the cells of a table, in units people read."""
    return [
        [
            name,
            str(one["cpu"]),
            str(one["cores"]),
            str(one["sockets"]),
            str(one["numa"]),
            size(one["memory"]),
            counted(one["gpus"]),
            " ".join(one["pythons"]) or "none from 3.10",
            str(one["os"]),
            str(one["kernel"]),
            f"{one['load']:.2f}",
            " ".join(one["users"]),
            size(one["disk_free"]),
        ]
        for name, one in found.items()
    ]


def size(count: int) -> str:
    """Return a number of bytes in GB or MB of 1024."""
    return f"{count / 2**30:.0f} GB" if count >= 10 * 2**30 else f"{count / 2**20:.0f} MB"


def counted(names: list[str]) -> str:
    """Return names, equal ones as a number of times."""
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def as_csv(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table for programs; lists in a cell have semicolons."""
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(("host", *FIELDS))
    for name, one in found.items():
        cells = (";".join(one[key]) if isinstance(one[key], list) else one[key] for key in FIELDS)
        table.writerow((name, *cells))
    return written.getvalue()
