"""Machines under plain qemu, without root: made from an image, told of themselves by cloud-init."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cncp.config.inventory import HostSpec
from cncp.config.parsers import PORTS_NEEDED
from cncp.config.settings import LOOPBACK
from cncp.errors import CncpError, plural
from cncp.pools.vm import accel, seed
from cncp.pools.vm.guest import Folder, Machine
from cncp.pools.vm.site import PREFIX, Guest, Row, Say, Wanted, know
from cncp.ports import free_block
from cncp.ssh import bare_host
from cncp.ssh.connection import Remote
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import at_once
from cncp.waiting import wait_until

_BOOT = {True: 120.0, False: 600.0}  # s that a machine may take to let us in, with KVM and in software
_GREETING = 5.0  # s
_DOWN = {True: 60.0, False: 240.0}  # s to shut down


class Qemu:
    """The machines in a folder, and the image that they are made of unless told otherwise."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._machines = folder / "machines"
        self._home = home
        self.image = folder / "base.qcow2"

    def of(self, name: str) -> Folder:
        """Return the folder of a machine."""
        return Folder(self._machines / name)

    def known(self) -> list[Machine]:
        """Return all machines there are, in order."""
        found = [Folder(path.parent).load() for path in self._machines.glob("*/machine.json")]
        return sorted(found, key=lambda machine: machine.number)

    def machines(self) -> list[Row]:
        """Return what each machine is."""
        return [self._row(machine, self.of(machine.name).pid) for machine in self.known()]

    @staticmethod
    def _row(machine: Machine, pid: int) -> Row:
        state = "running" if pid else "off"
        return Row(machine.name, state, machine.cores, machine.memory, pid, machine.ssh_port, machine.address)

    def check(self, wanted: Wanted) -> None:
        """Raise CncpError where there is no image, not enough memory, or machines are too many already."""
        known = self.known()
        if len(known) > wanted.count:
            raise CncpError(f"{plural(len(known), 'machine')} there already", "take them away first: cncp vm.destroy")
        image = self._base(wanted)
        if len(known) < wanted.count and not image.exists():
            raise CncpError(
                f"there is no image {image}", "make one: sudo -E ~/.local/bin/cncp vm.box, or name one: --image FILE"
            )
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) // 1024
        needed = (wanted.count - len(known)) * wanted.memory
        if needed > free:
            raise CncpError(f"{needed} MiB are wanted, and {free} MiB are free", "--memory MIB, or --count N")

    def _base(self, wanted: Wanted) -> Path:
        return Path(wanted.base).absolute() if wanted.base else self.image

    def up(self, wanted: Wanted, authorized: tuple[str, ...], say: Say) -> list[Guest]:
        """Make machines that are missing, start those that are off, and wait until all let ``authorized`` in."""
        machines = list(planned(self.known(), wanted))[: wanted.count]
        for number, machine in enumerate(machines):
            if not machine.host_key:
                say(f"making {machine.name}")
                machines[number] = self.make(machine, authorized, self._base(wanted))
                self.of(machine.name).save(machines[number])
        how = "KVM" if accel.kvm() else "no KVM here: emulated, which takes minutes"
        say(f"starting {plural(len(machines), 'machine')} ({how})")
        return self.start(machines)

    def make(self, machine: Machine, authorized: tuple[str, ...], image: Path) -> Machine:
        """Make a machine whose disk stands on an image; return it with its host key. Raises CncpError."""
        folder = self.of(machine.name)
        folder.destroy()  # what a run that was cut off has left
        folder.path.mkdir(mode=0o700, parents=True)
        outer, inner = machine.macs
        host_key = seed.write(seed.Seed(machine.name, outer, inner, machine.address, authorized), folder.seed)
        folder.make_disk(image)
        return replace(machine, host_key=host_key)

    def start(self, machines: Sequence[Machine]) -> list[Guest]:
        """Switch machines on, whom ssh knows from then on, and wait until all let us in. Raises CncpError."""
        know(self._home, {machine.name: machine.host_key for machine in machines})
        for machine in machines:
            self.of(machine.name).start(machine)
        waited = at_once({machine.name: machine for machine in machines}, self._await_login)
        for error in waited.failures.values():
            raise error
        return [guest(machine) for machine in machines]

    def _await_login(self, machine: Machine) -> None:
        """Wait until cloud-init has made the account and sshd shows the key we gave it; else tell the console's end."""
        patience = _BOOT[accel.kvm()]
        folder = self.of(machine.name)

        def lets_in() -> bool:
            if not folder.pid:
                raise CncpError(f"{machine.name} has ended by itself", f"see its last words: {folder.path}/console.log")
            # qemu takes the connection itself: only a greeting is the machine's.
            if bare_host.dial([LOOPBACK], [machine.ssh_port], _GREETING, bare_host.SSH)["open"][LOOPBACK]:
                with contextlib.suppress(HostError), Remote(guest(machine).spec, strict=True):
                    return True
            return False

        if wait_until(lets_in, patience, 0.5):
            return
        said = folder.console().strip().splitlines()
        last = f": {said[-1].strip()}" if said else ""
        raise CncpError(f"{machine.name} lets nobody in after {patience:g} s{last}", f"see {folder.path}/console.log")

    def down(self, names: Collection[str] | None = None) -> list[str]:
        """Shut machines down, those of these names or all; return the names of those that ran."""
        running = [
            machine.name
            for machine in self.known()
            if self.of(machine.name).pid and (names is None or machine.name in names)
        ]
        at_once({name: name for name in running}, self.stop)
        return running

    def stop(self, name: str) -> None:
        """Shut one machine down."""
        self.of(name).stop(_DOWN[accel.kvm()])

    def destroy(self) -> None:
        """Take all machines away, and what runs that were cut off have left; the image stays."""
        for path in self._machines.glob("*"):
            Folder(path).destroy()
        with contextlib.suppress(OSError):  # not there, or somebody has put something into it
            self._machines.rmdir()


def planned(known: Sequence[Machine], wanted: Wanted) -> Iterator[Machine]:
    """Yield the machines there are, then those to be made; the first has the controller, whose ports lead in."""
    yield from known
    group = known[0].group if known else free_block(1)[0]
    # Nobody listens on these yet, or on those of machines that are off.
    taken = {group, *(port for machine in known for port in (machine.ssh_port, *machine.forwards))}
    for number in range(len(known) + 1, wanted.count + 1):
        forwards = free_block(PORTS_NEEDED, taken) if number == 1 else ()
        ssh_port = free_block(1, {*taken, *forwards})[0]
        taken |= {*forwards, ssh_port}
        yield Machine(f"{PREFIX}{number}", number, wanted.memory, wanted.cores, ssh_port, forwards, group)


def guest(machine: Machine) -> Guest:
    """Return a machine as others know it."""
    spec = HostSpec(machine.name, user=seed.USER, port=machine.ssh_port, address=LOOPBACK, offline=True)
    return Guest(spec, machine.forwards)
