"""Machines as one cluster: made, started, named in a cluster.toml of their own, and taken away again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cncp import attributes, files
from cncp.attributes import Kept
from cncp.cluster import LOOPBACK, PORTS_NEEDED
from cncp.errors import CncpError
from cncp.files import read_bytes, write_atomic
from cncp.fleet import agent
from cncp.fleet import place as places
from cncp.fleet.command import HostError
from cncp.fleet.crew import at_once
from cncp.fleet.ssh import Remote
from cncp.inventory import HostSpec
from cncp.machine.lifecycle import remember
from cncp.machine.place import Account
from cncp.ports import free_block
from cncp.run import run
from cncp.vm import accel, seed
from cncp.vm.machine import Folder, Machine

PREFIX = "cncp-vm"
"""What the names of machines begin with; ssh and reports know them by these."""

_BOOT = {True: 120.0, False: 600.0}  # s that a machine may take to let us in, with KVM and in software
_GREETING = 5.0  # s
_DOWN = {True: 60.0, False: 240.0}  # s to shut down

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """How many machines, and what each has; ``memory`` in MiB."""

    count: int
    memory: int
    cores: int


class Site:
    """The folder of all machines of this account, their base image and their cluster.toml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def image(self) -> Path:
        """The base image."""
        return self.folder / "base.qcow2"

    @property
    def file(self) -> Path:
        """The cluster.toml that names the machines."""
        return self.folder / "cluster.toml"

    def of(self, name: str) -> Folder:
        """Return the folder of a machine."""
        return Folder(self.folder / "machines" / name)

    def machines(self) -> list[Machine]:
        """Return all machines there are, in order."""
        found = [Folder(path.parent).load() for path in self.folder.glob("machines/*/machine.json")]
        return sorted(found, key=lambda one: one.number)

    def check(self) -> None:
        """Raise CncpError where machines cannot be made."""
        if not self.image.exists():
            raise CncpError(f"there is no image {self.image}", "make one: sudo invoke vm.box, or copy one to there")

    @contextlib.contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Keep other runs away."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.lock(self.folder / "lock", what):
            yield


def up(site: Site, wanted: Wanted, home: Path, say: Say) -> list[Machine]:
    """Make machines that are missing, start those that are off, and wait until all let us in. Raises CncpError."""
    known = site.machines()
    if len(known) > wanted.count:
        raise CncpError(f"there are {len(known)} machines already", "take them away first: invoke vm.destroy")
    _check_memory(wanted, known)
    authorized = seed.keys(home, _agent())
    made = list(_planned(known, wanted))
    for number, one in enumerate(made):
        if not one.host_key:
            say(f"making {one.name}")
            made[number] = _make(site, one, authorized)
    _know(home, made)
    write_atomic(site.file, cluster_toml(made).encode(), 0o600)
    say(f"starting {len(made)} machines ({'KVM' if accel.kvm() else 'no KVM here: emulated, which takes minutes'})")
    for one in made:
        site.of(one.name).start(one)
    waited = at_once({one.name: one for one in made}, lambda one: _await_login(site, one))
    for error in waited.failures.values():
        raise error
    return made


def _planned(known: Sequence[Machine], wanted: Wanted) -> Iterator[Machine]:
    """Yield the machines there are, then those to be made; the first has the controller, whose ports lead in."""
    yield from known
    group = known[0].group if known else free_block(1)[0]
    # Nobody listens on these yet, or on those of machines that are off.
    taken = {group, *(port for one in known for port in (one.ssh_port, *one.forwards))}
    for number in range(len(known) + 1, wanted.count + 1):
        forwards = free_block(PORTS_NEEDED, taken) if number == 1 else ()
        ssh_port = free_block(1, {*taken, *forwards})[0]
        taken |= {*forwards, ssh_port}
        yield Machine(f"{PREFIX}{number}", number, wanted.memory, wanted.cores, ssh_port, forwards, group)


def _make(site: Site, one: Machine, authorized: tuple[str, ...]) -> Machine:
    folder = site.of(one.name)
    folder.destroy()  # what a run that was cut off has left
    folder.path.mkdir(mode=0o700, parents=True)
    outer, inner = one.macs
    host_key = seed.write(seed.Seed(one.name, outer, inner, one.address, authorized), folder.seed)
    folder.make_disk(site.image)
    made = replace(one, host_key=host_key)
    folder.save(made)
    return made


def _check_memory(wanted: Wanted, known: Sequence[Machine]) -> None:
    """Raise CncpError where the machines to be made have more memory than is free."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) // 1024
    needed = (wanted.count - len(known)) * wanted.memory
    if needed > free:
        raise CncpError(f"{needed} MiB are wanted, and {free} MiB are free", "--memory MIB, or --count N")


def _agent() -> list[str]:
    listed = run(["ssh-add", "-L"], check=False) if os.environ.get("SSH_AUTH_SOCK") else None
    return listed.stdout.splitlines() if listed is not None and listed.ok else []


def _know(home: Path, machines: Sequence[Machine]) -> None:
    """Have ssh know the machines by their names: their host keys were made here."""
    path = home / ".ssh" / "known_hosts"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    names = {one.name for one in machines}
    former = (read_bytes(path) or b"").decode(errors="surrogateescape").splitlines(keepends=True)
    kept = [line for line in former if line.split(" ")[0] not in names]
    new = [f"{one.name} {one.host_key}\n" for one in machines if one.host_key]
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    content = "".join([*kept, *new])
    if not content:
        path.unlink(missing_ok=True)
    elif content != "".join(former):
        write_atomic(path, content.encode(errors="surrogateescape"), 0o600)


def spec(one: Machine) -> HostSpec:
    """Return a machine as a host of the inventory."""
    return HostSpec(one.name, user=seed.USER, port=one.ssh_port, address=LOOPBACK, offline=True)


def cluster_toml(machines: Sequence[Machine]) -> str:
    """Return the file by which `cncp` acts on the machines: the first has the controller, alone if there are others."""
    first, *others = machines
    low, high = min(first.forwards), max(first.forwards)
    lines = [
        "# Written by vm.up; vm.destroy takes it away.",
        f'controller = "{first.name}"',
        'listen = "all"',
        f'ports = "{low}-{high}"',
    ]
    for one in machines:
        lines += ["", "[[pool]]", f'hosts = ["{one.name}"]']
        host = spec(one)
        lines += [f'user = "{host.user}"', f"port = {host.port}", f'address = "{host.address}"', "offline = true"]
        if one is first and others:
            lines.append("engines = 0")
    return "\n".join(lines) + "\n"


def login(one: Machine, *words: str) -> list[str]:
    """Return the command that logs in to a machine."""
    options = ["-o", f"HostKeyAlias={one.name}", "-o", "StrictHostKeyChecking=yes", "-p", str(one.ssh_port)]
    return ["ssh", *options, f"{seed.USER}@{LOOPBACK}", *words]


def _await_login(site: Site, one: Machine) -> None:
    """Wait until cloud-init has made the account and sshd lets us in. Raises CncpError with what the console says."""
    patience = _BOOT[accel.kvm()]
    deadline = time.monotonic() + patience
    folder = site.of(one.name)
    while time.monotonic() < deadline:
        if not folder.pid:
            raise CncpError(f"{one.name} has ended by itself", f"see its last words: {folder.path}/console.log")
        # qemu takes the connection itself: only a greeting is the machine's.
        if agent.dial([LOOPBACK], [one.ssh_port], _GREETING, agent.SSH)["open"][LOOPBACK]:
            with contextlib.suppress(HostError), Remote(spec(one), strict=True):
                return
        time.sleep(0.5)
    said = folder.console().strip().splitlines()
    last = f": {said[-1].strip()}" if said else ""
    raise CncpError(f"{one.name} lets nobody in after {patience:g} s{last}", f"see {folder.path}/console.log")


def down(site: Site) -> list[str]:
    """Shut all machines down; return the names of those that ran."""
    running = [one for one in site.machines() if site.of(one.name).pid]
    patience = _DOWN[accel.kvm()]
    at_once({one.name: one for one in running}, lambda one: site.of(one.name).stop(patience))
    return [one.name for one in running]


def destroy(site: Site, home: Path, account: Account, state: Path) -> list[str]:
    """Take all machines away, and what this machine knows of them; ``state`` is the folder of fleet.json."""
    machines = site.machines()
    for one in machines:
        site.of(one.name).destroy()
    names = {one.name for one in machines}
    if names:
        _know(home, [replace(one, host_key="") for one in machines])
        left = {name: one for name, one in places.load(state).items() if name not in names}
        places.save(state, left)
    former = attributes.kept(state)
    if former.file == str(site.file):
        remember(account, state, Kept(former.settings), {}, None)
    site.file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or somebody has put something into it
        (site.folder / "machines").rmdir()
    return sorted(names)
