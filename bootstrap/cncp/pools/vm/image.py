"""The base image: a small Debian made from its packages alone, for where no catalogue of boxes can be reached.

A disk with one ext4 partition, GRUB for BIOS and cloud-init; nothing in it is particular to a machine.
Facts: mmdebstrap(1), mke2fs(8) "-d", and GRUB's i386-pc images: the boot sector loads what begins at
sector 1, and that knows its own length (grub-core/boot/i386/pc/boot.S, diskboot.S).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cncp.errors import CncpError
from cncp.process import MOUNTING, run

PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "systemd-resolved", "dbus", "libpam-systemd"),
    *("openssh-server", "cloud-init", "cloud-guest-utils", "sudo", "cron", "ca-certificates", "iproute2"),
    *("python3", "python3-venv", "procps", "rsync"),
)

_TOOLS: Mapping[str, str] = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "grub-mkimage": "grub-common",
    "qemu-img": "qemu-utils",
}
"""Programs that make an image, and the Debian packages they are in."""

_GRUB = Path("/usr/lib/grub/i386-pc")
_MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "normal", "serial", "terminal")
_SECTOR = 512
_START = 2048  # sectors before the partition; GRUB's second part is in them
_SIZE = 8 * 2**30  # bytes of the disk; what is empty takes no room
_LABEL = "cncp-root"

_GRUB_CFG = f"""\
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
linux /vmlinuz root=LABEL={_LABEL} ro console=tty0 console=ttyS0,115200 quiet
initrd /initrd.img
boot
"""

_CLOUD_CFG = """\
# Of this image: seeds come on a disk, or from a cloud that shows itself as one; networkd does what they say.
datasource_list: [NoCloud, ConfigDrive, OpenStack, Ec2, None]
datasource: {Ec2: {strict_id: true}}
locale: C.UTF-8
system_info:
  network:
    renderers: [networkd]
"""

_IDENTIFY = """\
# Of several places for seeds none may have one: cloud-init still makes what is particular to a machine.
policy: search,found=all,maybe=all,notfound=enabled
"""

_QUIET = ("apt-daily.timer", "apt-daily-upgrade.timer")
"""Timers that would take a small machine's processors from its engines."""


def check() -> None:
    """Raise CncpError where no image can be made."""
    if os.geteuid() != 0:
        raise CncpError(
            "only root can make an image: its files belong to root", "sudo -E ~/.local/bin/cncp vm.box, or get one"
        )
    lacking = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    lacking += [] if (_GRUB / "boot.img").exists() else ["grub-pc-bin"]
    if lacking:
        raise CncpError(f"there is no {lacking[0]} on this machine", f"apt-get install {' '.join(lacking)}")


def build(output: Path, suite: str, mirror: str, say: Callable[[str], None]) -> None:
    """Make ``output``, a compressed qcow2. Raises CncpError; what stood there before stays until it is whole.

    ``mirror`` is the address of a Debian mirror, "" for the usual one. `check` says what it needs.
    """
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".image-") as folder:
        tree, raw, packed = Path(folder, "tree"), Path(folder, "disk.raw"), Path(folder, "disk.qcow2")
        say(f"getting Debian {suite}")
        _bootstrap(tree, suite, mirror)
        _prepare(tree)
        say("making the disk")
        _disk(tree, raw, Path(folder))
        say("compressing it")
        compress(raw, packed)
        packed.replace(output)


def compress(disk: Path, output: Path) -> None:
    """Write a disk, and all it stands on, as one qcow2 without what is empty. Raises CncpError."""
    run(["qemu-img", "convert", "-c", "-O", "qcow2", disk, output], timeout=3600)


def expand(disk: Path, output: Path) -> None:
    """Write a qcow2, and all it stands on, as the bytes of a disk; what is empty takes no room. Raises CncpError."""
    run(["qemu-img", "convert", "-O", "raw", disk, output], timeout=3600)


def reduce(disk: Path, output: Path) -> None:
    """Write the files of a disk of ours as one qcow2, and nothing of what was deleted from it. Raises CncpError.

    Blocks that belong to no file are left out (e2image(8) "-ra"): a disk that was told to discard them
    still has those that are smaller than what it discards at a time.
    """
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".image-") as folder:
        whole, used = Path(folder, "whole.raw"), Path(folder, "used.raw")
        expand(disk, whole)
        begin = str(_START * _SECTOR)
        run([_e2image(), "-r", "-a", "-O", begin, "-o", begin, whole, used], timeout=3600)
        with whole.open("rb") as source, used.open("r+b") as target:
            target.write(source.read(_START * _SECTOR))
            target.truncate(whole.stat().st_size)
        compress(used, output)


def _e2image() -> str:
    """Return the program, which plain users do not have on their PATH."""
    return shutil.which("e2image", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or "e2image"


def _bootstrap(tree: Path, suite: str, mirror: str) -> None:
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    words = ["--mode=root", "--variant=minbase", *excluded, f"--include={','.join(PACKAGES)}"]
    try:
        run([*MOUNTING, "mmdebstrap", *words, suite, tree, *([mirror] if mirror else [])], timeout=3600)
    except CncpError as error:
        raise CncpError(
            f"Debian {suite} could not be got: {error.message}", "check the suite, and that apt-get update works here"
        ) from None


def _prepare(tree: Path) -> None:
    """Take out what must differ from machine to machine, and say how it starts."""
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").unlink(missing_ok=True)
    (tree / "etc/fstab").write_text(f"LABEL={_LABEL} / ext4 errors=remount-ro 0 1\n")
    (tree / "etc/cloud/cloud.cfg.d/10_cncp.cfg").write_text(_CLOUD_CFG)
    (tree / "etc/cloud/ds-identify.cfg").write_text(_IDENTIFY)
    grub = tree / "boot/grub"
    grub.mkdir(parents=True, exist_ok=True)
    (grub / "grub.cfg").write_text(_GRUB_CFG)
    # --root edits links only: nothing of the tree is run.
    run(["systemctl", f"--root={tree}", "enable", "systemd-networkd.service", "systemd-resolved.service"])
    run(["systemctl", f"--root={tree}", "mask", *_QUIET])
    for name in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir(parents=True)


def _disk(tree: Path, raw: Path, folder: Path) -> None:
    """Write the tree as the one partition of a disk that boots."""
    with raw.open("wb") as disk:
        disk.truncate(_SIZE)
    run(["sfdisk", "--quiet", raw], input=f"label: dos\nstart={_START}, type=83, bootable\n")
    size = f"{_SIZE // 1024 - _START // 2}k"
    run(
        ["mke2fs", "-q", "-t", "ext4", "-L", _LABEL, "-d", tree, "-E", f"offset={_START * _SECTOR}", raw, size],
        timeout=1800,
    )
    core = folder / "core.img"
    run(["grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub", *_MODULES])
    content = core.read_bytes()
    if len(content) > (_START - 1) * _SECTOR:
        raise CncpError("GRUB is too large for the room before the partition", "this is a bug: please report it")
    with raw.open("r+b") as disk:
        # The partition table stands behind the code, in the same sector.
        disk.write((_GRUB / "boot.img").read_bytes()[:440])
        disk.seek(_SECTOR)
        disk.write(content)
