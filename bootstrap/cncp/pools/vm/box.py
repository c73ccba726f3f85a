"""A box for Vagrant from an image: the same disk, and a small partition that lets Vagrant in at its first boot.

Facts: the format of vagrant-libvirt's boxes (metadata.json, Vagrantfile, box.img), and the public half of the
key that Vagrant logs in to new machines with, and replaces by one of its own (``config.ssh.insert_key``).
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from cncp.pools.vm import image, seed

_KNOWN_TO_ALL = (
    "ssh-rsa "
    "AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oX"
    "evct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWK"
    "n5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4"
    "LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ=="
)
_SECTOR = 512
_MIB = 2**20
_LINUX = 0x83  # type of a partition

_VAGRANTFILE = f"""\
Vagrant.configure("2") do |config|
  config.ssh.username = "{seed.USER}"
  # Shared folders over NFS would have root change what this machine exports.
  config.vm.synced_folder ".", "/vagrant", disabled: true
end
"""


def pack(disk: Path, output: Path) -> None:
    """Write ``output``, a box for libvirt, from a qcow2 without keys. Raises CncpError."""
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".box-") as made:
        folder = Path(made)
        raw, packed, iso = folder / "disk.raw", folder / "box.img", folder / "seed.iso"
        image.expand(disk, raw)
        seed.disk({"meta-data": {"instance-id": "cncp-box"}, "user-data": seed.account((_KNOWN_TO_ALL,))}, iso)
        _append(raw, iso.read_bytes())
        image.compress(raw, packed)
        size = raw.stat().st_size
        described = {"provider": "libvirt", "format": "qcow2", "virtual_size": -(-size // 2**30)}
        beside = folder / "cncp.box"
        # The image is compressed already.
        with tarfile.open(beside, "w:gz", compresslevel=1) as tar:
            for name, content in (("metadata.json", json.dumps(described)), ("Vagrantfile", _VAGRANTFILE)):
                entry = tarfile.TarInfo(name)
                entry.size = len(content.encode())
                tar.addfile(entry, io.BytesIO(content.encode()))
            entry = tarfile.TarInfo("box.img")
            entry.size = packed.stat().st_size
            with packed.open("rb") as stream:
                tar.addfile(entry, stream)
        beside.replace(output)


def build(output: Path, suite: str, mirror: str, say: Callable[[str], None]) -> None:
    """Make ``output``, a box of Debian's packages alone, as `image.build` makes an image. Raises CncpError."""
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".image-") as folder:
        base = Path(folder, "base.qcow2")
        image.build(base, suite, mirror, say)
        say("writing the box")
        pack(base, output)


def _append(raw: Path, content: bytes) -> None:
    """Make the disk longer by a partition with this content."""
    start = raw.stat().st_size
    with raw.open("r+b") as disk:
        disk.truncate(start + _MIB * -(-len(content) // _MIB))
        disk.seek(start)
        disk.write(content)
        # The second entry of the partition table; who reads it today goes by sectors, not by cylinders.
        disk.seek(0x1CE)
        cylinders = b"\xfe\xff\xff"
        sectors = (raw.stat().st_size - start) // _SECTOR
        disk.write(struct.pack("<B3sB3sII", 0, cylinders, _LINUX, cylinders, start // _SECTOR, sectors))
