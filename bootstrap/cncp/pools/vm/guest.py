"""One virtual machine under qemu, without root: a folder that holds its disk, its seed and what runs it.

Two networks: the user-mode one, by which it reaches out and by which ports of this machine's loopback
lead in, and one that the machines of a cluster have among themselves (qemu's multicast sockets, on
loopback). Facts: qemu(1), and the QEMU Machine Protocol's `system_powerdown` and `quit`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cncp import pidfile
from cncp.config.settings import LOOPBACK
from cncp.errors import CncpError
from cncp.pools.vm import accel
from cncp.process import run
from cncp.records import Record
from cncp.state_files import StateFile
from cncp.waiting import wait_until

_SUBNET = "10.93.7"  # of the machines among themselves
_DISK, _SEED, _CONSOLE, _PID, _QMP = "disk.qcow2", "seed.iso", "console.log", "pid", "qmp"


@dataclass(frozen=True)
class Machine(Record):
    """What a machine is. ``memory`` is in MiB, ``forwards`` are ports of this machine's loopback by ports of its own.

    ``group`` is the multicast port of its cluster, ``host_key`` what it shows itself by.
    """

    name: str
    number: int
    memory: int
    cores: int
    ssh_port: int
    forwards: tuple[int, ...]
    group: int
    host_key: str = ""

    @property
    def address(self) -> str:
        """Its address among the machines of its cluster."""
        return f"{_SUBNET}.{10 + self.number}"

    @property
    def macs(self) -> tuple[str, str]:
        """Of its card to the outside, and of the one to the other machines; the prefix is KVM's."""
        return tuple(f"52:54:00:63:{card:02x}:{self.number:02x}" for card in (0, 1))  # type: ignore[return-value]


_ANEW = "make it anew: cncp vm.destroy, then cncp vm.up"

# Earlier versions take no record with a member more.
STORE = StateFile("machine.json", Machine, _ANEW, stamped=False)


class Folder:
    """The folder of a machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def disk(self) -> Path:
        """Its disk, which holds what differs from the base image."""
        return self.path / _DISK

    @property
    def seed(self) -> Path:
        """What cloud-init reads."""
        return self.path / _SEED

    def load(self) -> Machine:
        """Read what it is. Raises CncpError."""
        machine = STORE.load(self.path)
        if machine is None:
            raise CncpError(f"{self.path} holds no machine", _ANEW)
        return machine

    def save(self, machine: Machine) -> None:
        """Keep what it is; it exists from then on."""
        STORE.save(self.path, machine)

    def make_disk(self, image: Path) -> None:
        """Make its disk on top of an image, which is never written to."""
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, self.disk])

    @property
    def pid(self) -> int:
        """The process that runs it, 0 where it is off."""
        return pidfile.read(self.path, "running").pid

    def start(self, machine: Machine) -> None:
        """Switch it on. Raises CncpError with the reason that qemu gives."""
        if self.pid:
            return
        for left in (_PID, _QMP):
            (self.path / left).unlink(missing_ok=True)
        # Sockets have short paths: qemu is started in the folder, and names are relative to it.
        try:
            run(command(machine), cwd=self.path, timeout=60)
        except CncpError as error:
            raise CncpError(f"{machine.name} does not start: {error.message}", _hint(error.message)) from None
        pidfile.write(self.path, "running", pid=int((self.path / _PID).read_text()))

    def stop(self, patience: float) -> None:
        """Have it shut down as if its button were pressed; take its power away after ``patience`` seconds."""
        pid = self.pid
        if not pid:
            return
        with self._monitor() as ask:
            ask("system_powerdown")
        if not _ended(pid, patience):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _ended(pid, 10)

    @contextlib.contextmanager
    def _monitor(self) -> Iterator[Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            # By way of the folder's descriptor: its own path may be longer than a socket's may be (unix(7)).
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{descriptor}/{_QMP}")
            finally:
                os.close(descriptor)
            stream = connection.makefile("rw")
            stream.readline()

            def ask(command: str) -> None:
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                stream.readline()

            ask("qmp_capabilities")
            yield ask

    def destroy(self) -> None:
        """Switch it off at once and remove all of it."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _ended(pid, 10)
        shutil.rmtree(self.path, ignore_errors=True)

    def console(self) -> str:
        """Return the last of what it wrote to its serial port."""
        try:
            return (self.path / _CONSOLE).read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return ""


def command(machine: Machine) -> list[str]:
    """Return the argument list of qemu, to be run in the machine's folder."""
    forwards = {machine.ssh_port: 22, **{port: port for port in machine.forwards}}
    ways = "".join(f",hostfwd=tcp:{LOOPBACK}:{here}-:{there}" for here, there in forwards.items())
    outer, inner = machine.macs
    return [
        *("qemu-system-x86_64", "-name", machine.name, "-machine", "pc", "-nodefaults", "-display", "none"),
        *("-accel", "kvm" if accel.kvm() else "tcg,thread=multi", "-cpu", "max"),
        *("-smp", str(machine.cores), "-m", str(machine.memory)),
        *("-drive", f"file={_DISK},if=virtio,format=qcow2,discard=unmap"),
        *("-drive", f"file={_SEED},if=virtio,format=raw,readonly=on"),
        *("-device", "virtio-rng-pci", "-serial", f"file:{_CONSOLE}"),
        *("-netdev", f"user,id=outer{ways}", "-device", f"virtio-net-pci,netdev=outer,mac={outer},romfile="),
        *("-netdev", f"socket,id=inner,mcast=239.93.7.1:{machine.group},localaddr={LOOPBACK}"),
        *("-device", f"virtio-net-pci,netdev=inner,mac={inner},romfile="),
        *("-qmp", f"unix:{_QMP},server=on,wait=off", "-pidfile", _PID, "-daemonize"),
    ]


_REASONS: Mapping[str, str] = {
    "No such file or directory: 'qemu": "apt-get install qemu-system-x86 qemu-utils",
    "Cannot allocate memory": "give the machines less: --memory MIB, or make fewer: --count N",
    "Could not set up host forwarding": "a port is taken: cncp vm.destroy, then cncp vm.up, chooses others",
}


def _hint(said: str) -> str:
    return next((hint for mark, hint in _REASONS.items() if mark in said), "run it by hand to see all it says")


def _ended(pid: int, patience: float) -> bool:
    """Wait until a process is gone; False where it is still there after ``patience`` seconds."""
    began = pidfile.started(pid)
    return not began or wait_until(lambda: pidfile.started(pid) != began, patience, 0.1)
