"""Machines that boot by PXE: a network of their own, dnsmasq, the real cidd, and qemu without KVM.

The network is a namespace without a name that only this thread and what it starts are in: it ends with them.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.netboot import cidcapt
from cncp.netboot.blancmange import top_config
from cncp.netboot.blancmange.initramfs_image import build
from cncp.netboot.blancmange.initramfs_tree import Reach
from cncp.netboot.blancmange.top_config import TopConfig
from cncp.netboot.cidd import Settings
from cncp.netboot.mkimg.archives import Format
from cncp.netboot.service import dnsmasq_conf
from cncp.netboot.service.server_paths import ACCOUNT
from cncp.netboot.service.server_settings import Network
from cncp.rendezvous import certificate
from cncp.waiting import wait_until
from tests.lab.base import cache_dir
from tests.unit.refusal import ran

from .loopback_site import CiddFolder, started
from .tiny_image import KERNEL, MODULES, TinyImage

SERVER = "10.78.9.1"
OWN = ipaddress.IPv4Interface(f"{SERVER}/24")
UEFI, _UEFI_VARIABLES = (Path(f"/usr/share/OVMF/OVMF_{name}_4M.fd") for name in ("CODE", "VARS"))
ARGUMENTS = "console=ttyS0 quiet panic=1 net.ifnames=0"
SMALL = replace(top_config.read(), kernel=KERNEL, modules=(*MODULES, "ext4"))
"""A Blancmange that boots in seconds: with the kernel of virtual machines, and the modules of these."""
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET

EMULATOR = (
    *("qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"),
    # Without a source of random bytes whoever makes a UUID waits for seconds.
    *("-cpu", "qemu64,+rdrand"),
)
"""What begins a machine, but for its memory and its parts."""

NEEDS = (
    pytest.mark.lab,
    pytest.mark.skipif(os.getuid() != 0, reason="a network of its own is root's"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu is not here"),
)
"""Marks of tests with such machines."""


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Have this thread, and what it starts, be in a network with nothing but a bridge."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert libc.unshare(_NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        for words in (
            "link set lo up",
            "link add name wire type bridge",
            f"addr add {OWN} dev wire",
            "-6 addr add fd99::1/64 dev wire nodad",
            "link set wire up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        yield
    finally:
        assert libc.setns(before, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        os.close(before)


class Machine:
    """A machine with a disk and a card. Each reset is a qemu of its own: emulated, a second boot in one is slow."""

    def __init__(self, number: int, folder: Path, memory: int, size: str, first: str, cards: int, uefi: bool) -> None:
        """``memory`` is in MiB, ``size`` that of its disk; ``first`` what it boots: "c" the disk, "n" the network.

        Of several cards the last is where cidd is; at the others nobody answers. ``uefi`` may change while it is off.
        """
        self.uefi, self._variables = uefi, folder / f"m{number}.variables"
        self.mac, self.uuid = f"52:54:00:78:09:{number:02x}", str(uuid.UUID(int=number))
        self.disk, self.log = folder / f"m{number}.disk", folder / f"m{number}.log"
        self._memory, self._tap, self._first, self._on = str(memory), f"tap{number}", first, False
        self.boots, self._deaf = 0, [f"deaf{number}x{card}" for card in range(1, cards)]
        with self.disk.open("wb") as disk:
            disk.truncate(_bytes(size))
        for tap in (self._tap, *self._deaf):
            subprocess.run(["ip", "tuntap", "add", tap, "mode", "tap"], check=True)
            subprocess.run(["ip", "link", "set", tap, "up"], check=True)
        subprocess.run(["ip", "link", "set", self._tap, "master", "wire", "up"], check=True)

    def switch_on(self) -> None:
        """Start it."""
        self._on = True
        self._boot()

    def look(self) -> None:
        """Begin it anew where it has been reset. Whoever waits for something calls this meanwhile."""
        if self._on and self._qemu.poll() is not None:
            self._boot()

    def cut(self) -> None:
        """Cut its power."""
        self._on = False
        self._qemu.kill()
        self._qemu.wait()

    def said(self) -> str:
        """Return what it has written to its serial line."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _boot(self) -> None:
        self.boots += 1
        deaf = [
            word
            for tap in self._deaf
            for word in (
                *("-netdev", f"tap,id={tap},ifname={tap},script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev={tap},romfile="),
            )
        ]
        # With the card's own program, which is iPXE, that of UEFI would fetch none.
        rom = ",romfile=" if self.uefi else ""
        self._qemu = started(
            [
                *(*EMULATOR, "-m", self._memory, "-smp", "1", "-uuid", self.uuid),
                *self._firmware(),
                *("-chardev", f"file,id=s,append=on,path={self.log}", "-serial", "chardev:s"),
                *deaf,
                *("-netdev", f"tap,id=n,ifname={self._tap},script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev=n,mac={self.mac},bootindex={int(self._first != 'n')}{rom}"),
                *("-drive", f"if=none,id=d,format=raw,cache=unsafe,discard=unmap,file={self.disk}"),
                *("-device", f"virtio-blk-pci,drive=d,bootindex={int(self._first != 'c')}"),
            ],
            self.log,
        )

    def _firmware(self) -> tuple[str, ...]:
        if not self.uefi:
            return ()
        if not self._variables.exists():
            shutil.copy(_UEFI_VARIABLES, self._variables)
        parts = f"{UEFI},readonly=on", self._variables
        return tuple(word for path in parts for word in ("-drive", f"if=pflash,format=raw,file={path}"))


def _bytes(size: str) -> int:
    return int(size[:-1]) << {"M": 20, "G": 30}[size[-1]]


class PxeSite(CiddFolder):
    """A cidd with images, and a DHCP server; made where there are Debian's packages, begun in a network of its own."""

    def __init__(
        self,
        folder: Path,
        images: Mapping[str, Format],
        authorized_keys: str = "",
        *,
        slot: str = "160M",
        memory: int = 320,
        blancmange: TopConfig = SMALL,
    ) -> None:
        """``images`` are tiny ones to be there; ``slot`` is what a disk has for one, ``memory`` of a machine in MiB.

        ``blancmange`` is what that is made of, but for arguments and layout.
        """
        super().__init__(folder / "cidd")
        self.folder, self._memory, cache = folder, memory, cache_dir() / "netboot"
        self.place.folder.mkdir()
        self.machines: list[Machine] = []
        self.settings = Settings(str(self.place.folder), SERVER)
        self._processes = list[subprocess.Popen[bytes]]()
        tiny = TinyImage(cache / "tiny")
        for name, form in images.items():
            tiny.add(self.place.images(), self.place.signing_key(), name, folder / name, form)
        layout = folder / "repart.d"
        layout.mkdir()
        write_layout(layout, {"blancmange": "64M", "swap": "16M", "slot0": slot, "slot1": slot, "esp": "33M"})
        config = replace(blancmange, arguments=ARGUMENTS, layout=str(layout))
        reach = Reach(
            f"https://{SERVER}:{self.settings.port}",
            certificate.ensure(self.place.folder, "cidd"),
            f"http://{SERVER}:{self.settings.plain_port}",
            self.place.signing_key().public,
        )
        build(self.place.blancmange, config, reach, self.place.signing_key(), authorized_keys, cache / config.kernel)

    @contextlib.contextmanager
    def running(self) -> Iterator[PxeSite]:
        """Be in a network of its own, with the servers, until all of it is ended."""
        with network():
            try:
                self._begin()
                yield self
            finally:
                self._end()

    def _begin(self) -> None:
        """Start the servers, and wait until they answer."""
        settings = self.folder / "cidd.json"
        settings.write_text(json.dumps(self.settings.to_json()))
        own = Network("wire", OWN, (ipaddress.IPv4Address("10.78.9.50"), ipaddress.IPv4Address("10.78.9.90")))
        self._processes = [
            started([sys.executable, "-m", "cncp.netboot.cidd", settings], self.folder / "cidd.log"),
            started(dnsmasq(self.folder, own, self.settings.plain_port), self.folder / "dnsmasq.log"),
        ]
        assert wait_until(self.answers, 60), self.said()

    def image_make(self, name: str, *words: str) -> None:
        """Make an image, as a user does."""
        done = ran(self.folder, ["image.make", name, *words, "--folder", str(self.place.folder)])
        assert done.returncode == 0, done.stderr

    def machine(self, size: str = "460M", first: str = "c", cards: int = 1, uefi: bool = False) -> Machine:
        """Return one more machine, not switched on."""
        number = len(self.machines) + 1
        self.machines.append(Machine(number, self.folder, self._memory, size, first, cards, uefi))
        return self.machines[-1]

    def nodes(self) -> dict[str, dict[str, object]]:
        """Return what cidd knows, by the nodes' names, with machines that were reset begun anew."""
        for machine in self.machines:
            machine.look()
        return {node["name"]: node for node in json.loads(self.client.ask("GET", "/v1/nodes"))}

    def accept(self, *machines: Machine) -> None:
        """Switch machines on, and have them be known as n1, n2, ..."""
        for machine in machines:
            machine.switch_on()
        for machine in machines:
            unnamed = f"node-{machine.mac.replace(':', '')}"
            assert wait_until(lambda name=unnamed: name in self.nodes(), 120, 0.2), self.said()  # type: ignore[misc]
            self.client.ask("POST", f"/v1/nodes/{unnamed}?name=n{self.machines.index(machine) + 1}")

    def want(self, job: str, nodes: str, image: str) -> None:
        """Have a job want nodes in an image, and go on."""
        names = cidcapt.node_names(nodes)
        self.client.ask("PUT", f"/v1/jobs/{job}", {"nodes": names, "image": image, "timeout": 600})

    def capture(self, job: str, nodes: str, image: str, patience: float = 240) -> subprocess.Popen[str]:
        """Begin a job's command."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "cncp.netboot.cidcapt", "-j", job, "-n", nodes, "-i", image),
                *(f"--access={self.place.access}", f"--timeout={patience}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, command: subprocess.Popen[str], patience: float = 260) -> int | None:
        """Return the exit code of a job's command, once it has ended."""

        def look() -> bool:
            self.nodes()
            return command.poll() is not None

        wait_until(look, patience, 0.3)
        command.kill()
        return command.wait()

    def captured(self, job: str, nodes: str, image: str) -> None:
        """Hold that a job's nodes come into an image."""
        with self.capture(job, nodes, image) as command:
            assert self.ended(command) == 0, self.said()

    def trace(self, name: str) -> list[tuple[str, str]]:
        """Return the states that a node went through, with what was said of each."""
        events = json.loads(self.client.ask("GET", f"/v1/nodes/{name}/events"))
        return [(event["state"], event["text"]) for event in events]

    def said(self) -> str:
        """Return what everything has written, for a test that fails."""
        logs = (self.folder / name for name in ("cidd.log", "dnsmasq.log"))
        texts = {path.name: path.read_text().splitlines() for path in logs if path.exists()}
        telling = {name: [line for line in lines if "GET /v1/nodes " not in line] for name, lines in texts.items()}
        shown = ["\n".join((f"== {name}", *lines[-60:])) for name, lines in telling.items()]
        return "\n".join(
            (*shown, *(f"== {node.log.name}, boot {node.boots}\n{node.said()[-6000:]}" for node in self.machines))
        )

    def _end(self) -> None:
        """End everything."""
        for machine in self.machines:
            with contextlib.suppress(AttributeError):
                machine.cut()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)


def dnsmasq(folder: Path, own: Network, port: int) -> list[str | Path]:
    """Return the command with what `netboot.up` tells it, but for the account, which is not here."""
    lines = folder / "dnsmasq.d"
    lines.mkdir()
    text = dnsmasq_conf.render(own, port, folder / "leases", lines, Path("/usr/lib/ipxe"))
    path = folder / "dnsmasq.conf"
    path.write_text(text.replace(f"={ACCOUNT}\n", "=root\n"))
    return [dnsmasq_conf.PROGRAM, "--keep-in-foreground", "--log-facility=-", f"--conf-file={path}"]


def write_layout(folder: Path, sizes: Mapping[str, str]) -> None:
    """Write a layout of partitions after GRUB's; slots share what is left."""
    first = "[Partition]\nType=21686148-6449-6e6f-744e-656564454649\nLabel=grub\nSizeMinBytes=2M\nSizeMaxBytes=2M\n"
    (folder / "10.conf").write_text(first)
    for number, (name, size) in enumerate(sizes.items(), 20):
        kind = name if name in ("swap", "esp") else "linux-generic"
        most = "" if "slot" in name else f"SizeMaxBytes={size}\n"
        text = f"[Partition]\nType={kind}\nLabel={name}\nSizeMinBytes={size}\n{most}"
        (folder / f"{number}.conf").write_text(text)
