"""Point `boot`: nodes from the network to an image that runs, and to another, beside the kernel alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from cncp.waiting import wait_until
from tests.bench import processes
from tests.bench.results import Row
from tests.bench.site import BenchError
from tests.bench.start import Options
from tests.netboot.pxe_site import ARGUMENTS, EMULATOR, Machine, PxeSite

_OLD, _NEW = "tiny-1-0", "tiny-1-1"
_PATIENCE = 300.0  # s
_PROGRAMS = ("qemu-system-x86_64", "dnsmasq", "busybox", "minisign")


def refusal() -> str:
    """Say why it cannot be measured here, "" where it can."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return "skipped: not root" if os.getuid() else f"skipped: no {missing[0]}" if missing else ""


def boot(options: Options) -> list[Row]:
    """Measure the way of nodes from power-on to alive, each with a disk that is empty, and a switch on one's disk.

    The kernel alone: the same image, kernel and initrd handed to the same emulator, until its first program speaks.
    """
    alone = "qemu -kernel, to init"
    switch = Row("boot", "a switch to an image on the disk", "s", alone)
    first = {count: Row("boot", f"PXE to alive, {_nodes(count)}", "s", alone) for count in options.booting}
    for _ in range(options.repetitions):
        for count, row in first.items():
            with (
                tempfile.TemporaryDirectory(prefix="cncp-bench-boot-") as folder,
                PxeSite(Path(folder), {_OLD: "tar.zst", _NEW: "tar.zst"}).running() as site,
            ):
                _sample(site, count, row, switch if count == min(first) else None, options.patience)
    return [*first.values(), switch]


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes at once"


def _sample(site: PxeSite, count: int, row: Row, switch: Row | None, patience: float) -> None:
    machines = [site.machine() for _ in range(count)]
    site.accept(*machines)
    names = f"n[1-{count}]"
    site.want("1", names, _OLD)
    for machine in machines:
        machine.cut()
    row.busy.append(processes.wait_for_quiet(patience))
    for machine in machines:
        machine.switch_on()
    row.ours.append(_until_alive(site, _OLD, count))
    if switch is not None:
        site.captured("2", "n1", _NEW)
        switch.busy.append(processes.wait_for_quiet(patience))
        site.want("3", "n1", _OLD)
        switch.ours.append(_until_alive(site, _OLD, 1))
    for machine in machines:
        machine.cut()
    alone = _kernel_alone(site, machines[0])
    row.theirs.append(alone)
    if switch is not None:
        switch.theirs.append(alone)


def _until_alive(site: PxeSite, image: str, count: int) -> float:
    """Return after how many s so many nodes run an image, from now on."""

    def there() -> bool:
        return sum(node["state"] == "alive" and node["image"] == image for node in site.nodes().values()) == count

    began = time.monotonic()
    if not wait_until(there, _PATIENCE, 0.1):
        raise BenchError(site.said())
    return time.monotonic() - began


def _kernel_alone(site: PxeSite, machine: Machine) -> float:
    """Return after how many s the image on a machine's disk speaks whose kernel the emulator is handed."""
    images = site.place.images()
    parts = {blob.role: images.blob(blob.sha256) for blob in images.read(_OLD).blobs}
    log, began = site.folder / "alone.log", time.monotonic()
    argv = [
        *(*EMULATOR, "-m", "320", "-serial", f"file:{log}", "-kernel", str(parts["kernel"])),
        *("-initrd", str(parts["initrd"]), "-append", f"root=LABEL=slot0 rw {ARGUMENTS}"),
        *("-drive", f"if=virtio,format=raw,cache=unsafe,file={machine.disk}"),
        *("-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n"),
    ]
    with subprocess.Popen(argv) as emulator:
        try:
            if not wait_until(lambda: log.exists() and "this is" in log.read_text(errors="replace"), _PATIENCE, 0.05):
                raise BenchError(log.read_text(errors="replace"))
            return time.monotonic() - began
        finally:
            emulator.kill()
