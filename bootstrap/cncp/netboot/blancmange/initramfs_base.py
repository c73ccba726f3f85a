"""What every initramfs of ours begins with: busybox as its shell and its programs, and modules of the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cncp.netboot.blancmange import kernel_modules
from cncp.netboot.blancmange.cpio_archive import Member, file, folder, link
from cncp.netboot.blancmange.top_config import HERE
from cncp.process import run

BUSYBOX = "usr/bin/busybox"


def members(busybox: Path, modules: Path, names: Iterable[str], loaded: Sequence[str]) -> dict[str, Member]:
    """Return these files; ``busybox`` is one that needs no library. Raises CncpError.

    ``modules`` and ``names`` are those of `kernel_modules.chosen`, ``loaded`` what is loaded whatever the machine is.
    """
    applets = run([busybox, "--list"]).stdout.split()
    return {
        **{name: link(f"usr/{name}") for name in ("bin", "lib", "lib64", "sbin")},
        **{f"usr/bin/{name}": link("busybox") for name in applets},
        **{name: folder() for name in ("dev", "proc", "sys", "run")},
        BUSYBOX: file(busybox.read_bytes(), 0o755),
        "usr/lib/cncp/kernel.sh": file((HERE / "initramfs_base/kernel.sh").read_bytes()),
        "etc/cncp/modules": file(f"{' '.join(loaded)}\n".encode()),
        **kernel_modules.chosen(modules, busybox, names),
    }
