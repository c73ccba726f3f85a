"""The hardware of all hosts: looked at, kept as JSON a host, shown as a table or CSV."""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cncp.config.inventory import HostSpec
from cncp.errors import CncpError
from cncp.field_types import Bytes, Matching, ShortText, Sized, Text, Within
from cncp.files import make_home
from cncp.fleet import hardware
from cncp.records import Record
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Outcome
from cncp.ssh.rpc import answer
from cncp.state_files import StateFile

_Version = Annotated[str, Matching(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", "a version")]
_Count = Annotated[int, Within(1, 2**20)]


@dataclass(frozen=True)
class Hardware(Record):
    """What a machine is made of (``hardware.look``); sizes are in bytes."""

    cores: _Count
    cpu: ShortText
    disk_free: Bytes
    gpus: Annotated[tuple[ShortText, ...], Sized(1024)]
    home: Text
    kernel: ShortText
    load: Annotated[float, Within(0, 1e9)]
    memory: Annotated[int, Within(1, 2**63)]
    numa: _Count
    os: ShortText
    pythons: Annotated[tuple[_Version, ...], Sized(64)]
    sockets: _Count
    systemd: bool
    users: Annotated[tuple[ShortText, ...], Sized(65536)]


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


def look(host: Host, timeout: float) -> Hardware:
    """Look at a host. Raises HostError."""
    argv = ["sh", "-c", _FIND, "sh", host.spec.python]
    return answer(host, argv, Hardware, _NO_PYTHON, _SOURCE.encode(), timeout)


def store(name: str) -> StateFile[Hardware]:
    """Return where what was found of a host is, in a home."""
    return StateFile(f"facts/{name}.json", Hardware, "leave --cached out once")


def keep(home: Path, found: Mapping[str, Hardware]) -> None:
    """Write what was found, a file a host."""
    make_home(home)
    (home / "facts").mkdir(mode=0o700, exist_ok=True)
    for name, facts in found.items():
        store(name).save(home, facts)


def kept(home: Path, specs: tuple[HostSpec, ...]) -> Outcome[Hardware]:
    """Return what was found the last time; hosts that were never looked at are failures."""
    found: dict[str, Hardware] = {}
    failures: dict[str, CncpError] = {}
    for spec in specs:
        facts = store(spec.name).intact(home)
        if facts is None:
            failures[spec.name] = HostError(spec.name, "nothing is known of it", "leave --cached out once")
        else:
            found[spec.name] = facts
    return Outcome(found, failures)


def rows(found: Mapping[str, Hardware]) -> list[list[str]]:
    """Return the cells of a table, in units people read."""
    return [
        [
            name,
            facts.cpu,
            str(facts.cores),
            str(facts.sockets),
            str(facts.numa),
            size(facts.memory),
            counted(facts.gpus),
            " ".join(facts.pythons) or "none from 3.10",
            facts.os,
            facts.kernel,
            f"{facts.load:.2f}",
            " ".join(facts.users),
            size(facts.disk_free),
        ]
        for name, facts in found.items()
    ]


def size(count: int) -> str:
    """Return a number of bytes in GB or MB of 1024."""
    return f"{count / 2**30:.0f} GB" if count >= 10 * 2**30 else f"{count / 2**20:.0f} MB"


def counted(names: Sequence[str]) -> str:
    """Return names, equal ones as a number of times."""
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def as_csv(found: Mapping[str, Hardware]) -> str:
    """Return a table for programs; lists in a cell have semicolons."""
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(("host", *FIELDS))
    for name, facts in found.items():
        cells = (getattr(facts, key) for key in FIELDS)
        table.writerow((name, *(";".join(cell) if isinstance(cell, tuple) else cell for cell in cells)))
    return written.getvalue()
