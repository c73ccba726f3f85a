"""The machines of an account as hosts of a cluster, whoever makes them: their names, ways and files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from cncp import files
from cncp.accounts import Account
from cncp.config import sources, writer
from cncp.config.inventory import HostSpec, Inventory
from cncp.config.sources import Kept
from cncp.errors import CncpError, UsageError
from cncp.files import read_bytes, write_atomic
from cncp.fleet import registry as places
from cncp.machine.ops.lifecycle import remember
from cncp.process import run
from cncp.records import Record

PREFIX = "cncp-vm"
"""What the names of machines begin with; ssh and reports know them by these."""

Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """How many machines, and what each has, ``memory`` in MiB; ``base`` is what new ones are made of."""

    count: int
    memory: int
    cores: int
    base: str = ""


@dataclass(frozen=True)
class Row(Record):
    """What a machine is, by the columns of `vm.status`: ``memory`` in MiB, ``pid`` 0 where it is off or unknown."""

    machine: str
    state: str
    cores: int
    memory: int
    pid: int = 0
    ssh_port: int = 0
    address: str = ""


@dataclass(frozen=True)
class Guest:
    """A machine that lets the user in and that ssh knows; ``ports`` of this machine lead to the same of its own."""

    spec: HostSpec
    ports: tuple[int, ...] = ()


class Provider(Protocol):
    """What makes and runs machines."""

    def check(self, wanted: Wanted) -> None:
        """Raise CncpError where that is not possible."""

    def up(self, wanted: Wanted, authorized: tuple[str, ...], say: Say) -> list[Guest]:
        """Make machines that are missing, start those that are off, and wait until all let ``authorized`` in."""

    def machines(self) -> list[Row]:
        """Return what each machine is; empty where there are none."""

    def down(self, names: Collection[str] | None = None) -> list[str]:
        """Shut machines down, those of these names or all; return the names of those that ran."""

    def destroy(self) -> None:
        """Take all machines away with all that is on them."""


class Site:
    """The folder of all machines of this account."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """The cluster.toml that names the machines."""
        return self.folder / "cluster.toml"

    @contextlib.contextmanager
    def locked(self, operation: str) -> Iterator[None]:
        """Keep other runs away."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.lock(self.folder / "lock", operation):
            yield

    def hosts(self) -> dict[str, HostSpec]:
        """Return how the machines are reached, by name."""
        inventory = sources.read(self.file)[1] if self.file.exists() else None
        return {host.name: host for host in inventory.hosts} if inventory else {}

    def named(self, name: str) -> HostSpec:
        """Return the machine of this name, "" for the first. Raises CncpError."""
        return named(name, self.hosts())

    def write(self, guests: Sequence[Guest]) -> None:
        """Have `cncp` act on the machines."""
        write_atomic(self.file, cluster_toml(guests).encode(), 0o600)

    def forget(self, home: Path, account: Account, state: Path) -> None:
        """Leave no trace of the machines in what ssh and `cncp` know; ``state`` is the folder of fleet.json."""
        names = self.hosts()
        if names:
            know(home, dict.fromkeys(names, ""))
            places.save(state, {name: place for name, place in places.load(state).items() if name not in names})
        former = sources.kept(state)
        if former.file == str(self.file):
            remember(account, state, Kept(former.settings), {}, None)
        self.file.unlink(missing_ok=True)


def named(name: str, machines: Mapping[str, T]) -> T:
    """Return the machine of this name, "" for the first. Raises CncpError."""
    if not machines:
        raise CncpError("there are no machines", "make some: cncp vm.up")
    if name and name not in machines:
        raise UsageError(f"there is no machine {name}", "there are: " + ", ".join(machines))
    return machines[name or next(iter(machines))]


def know(home: Path, host_keys: Mapping[str, str]) -> None:
    """Have ssh know machines by their names and host keys; those without a key are forgotten."""
    path = home / ".ssh" / "known_hosts"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _forget(path, host_keys)
    kept = read_bytes(path) or b""
    if kept and not kept.endswith(b"\n"):
        kept += b"\n"
    content = kept + "".join(f"{name} {key}\n" for name, key in host_keys.items() if key).encode()
    if content:
        write_atomic(path, content, 0o600)
    else:
        path.unlink(missing_ok=True)


def _forget(path: Path, names: Iterable[str]) -> None:
    """Take hosts out of a file of known hosts, also where ssh has written their names hashed."""
    former = path.with_suffix(".old")
    theirs = former.exists()
    if path.exists():
        for name in names:
            run(["ssh-keygen", "-q", "-R", name, "-f", path], check=False)
        if not theirs:
            former.unlink(missing_ok=True)


def cluster_toml(guests: Sequence[Guest]) -> str:
    """Return the file by which `cncp` acts on the machines: the first has the controller, alone if there are others."""
    first, *others = guests
    ports = {"ports": f"{min(first.ports)}-{max(first.ports)}"} if first.ports else {}
    head = replace(first.spec, settings={"engines": 0}) if others else first.spec
    hosts = Inventory((head, *(other.spec for other in others)), head)
    notes = ["Written by vm.up; vm.destroy takes it away."]
    return "".join(f"{line}\n" for line in writer.lines({"listen": "all", **ports}, hosts, notes))


def login(host: HostSpec) -> list[str]:
    """Return the command that logs in to a machine."""
    options = ["-o", f"HostKeyAlias={host.name}", "-o", "StrictHostKeyChecking=yes", "-p", str(host.port)]
    return ["ssh", *options, f"{host.user}@{host.address}"]
