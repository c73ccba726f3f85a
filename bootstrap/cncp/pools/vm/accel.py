"""Whether this machine's processor runs guests: found out by running one."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from cncp.process import run

# mov dx, 0xf4; mov al, 0x10; out dx, al; cli; hlt - and the signature of a boot sector.
_GUEST = bytes.fromhex("baf400b010eefaf4").ljust(510, b"\0") + b"\x55\xaa"
_SAID = 0x10 << 1 | 1  # exit status of qemu by isa-debug-exit: (value << 1) | 1
_PATIENCE = 6.0  # s


@functools.cache
def kvm() -> bool:
    """Boot a guest of a few instructions; /dev/kvm may open and still run nothing."""
    if not Path("/dev/kvm").exists() or shutil.which("qemu-system-x86_64") is None:
        return False
    with tempfile.NamedTemporaryFile(prefix="cncp-") as disk:
        disk.write(_GUEST)
        disk.flush()
        words = ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", "16"]
        drive = f"file={disk.name},format=raw,if=ide,readonly=on"
        probe = [*words, "-drive", drive, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-no-reboot"]
        return run(probe, check=False, timeout=_PATIENCE).status == _SAID
