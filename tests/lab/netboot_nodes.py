"""Nodes that are put into images, whose images are hosts of the lab: real cidkid, and whatever else an image has.

Only what is between two images is played: the network's boot, by a thread, and the boot loader.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from cncp.netboot import cidkid
from cncp.netboot.cidkid import Me

from ..netboot.fake_node import FakeNode
from .host import Host

UNIT = """\
[Unit]
After=network-online.target
Wants=network-online.target
[Service]
ExecStart=/usr/bin/python3 -I /usr/lib/cncp/cidkid.py --proc /var/proc
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""

GOES = """\
#!/bin/sh
# What the boot loader is told, and the end of this boot.
{ echo "$1"; cat; } >/var/next
systemctl poweroff
"""


class HostNode(FakeNode):
    """A node that is a host of the lab in some images, or in all, and a thread in others."""

    hosts: ClassVar[Mapping[int, Host]] = {}
    images: ClassVar[Collection[str]] = ()

    def _image(self) -> None:
        if self.images and self.next not in self.images:
            super()._image()
            return
        image, host, fresh = self.next, self.hosts[self.number], self.boots()
        me = Me(self.url, self.fingerprint, self.name, image, self.disk[image])
        write(host, {"etc/cncp/cidkid.json": (json.dumps(vars(me)), 0o600), "etc/cncp/image": (f"{image}\n", 0o644)})
        # What the kernel would say: a host of the lab has that of this machine.
        kernel = {"cmdline": "cncp.fresh" if fresh else "", "sys/kernel/random/boot_id": fresh}
        write(host, {f"var/proc/{name}": (text, 0o644) for name, text in kernel.items()})
        host.boot()
        while host.running and not self.stop.wait(0.2):
            pass
        following = host.root / "var/next"
        if following.exists():
            self.next, self.boot_key, *_ = [*following.read_text().split(), ""]
            self.fresh = not self.boot_key
            following.unlink()


def write(host: Host, files: Mapping[str, tuple[str | bytes, int]]) -> None:
    """Write files of a host that is off: contents and modes by path."""
    for name, (content, mode) in files.items():
        path: Path = host.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)


def furnish(host: Host, programs: Mapping[str, tuple[str | bytes, int]]) -> None:
    """Have an image's host be what mkimg makes of it, with a boot loader that is played, and other ``programs``."""
    unit = "etc/systemd/system/cidkid.service"
    files: dict[str, tuple[str | bytes, int]] = {
        "usr/lib/cncp/cidkid.py": (Path(cidkid.__file__).read_bytes(), 0o755),
        unit: (UNIT, 0o644),
        **{f"etc/cncp/cidkid.d/{verb}": (GOES, 0o755) for verb in ("switch", "blancmange")},
    }
    write(host, {**files, **programs})
    wanted = host.root / "etc/systemd/system/multi-user.target.wants/cidkid.service"
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.symlink_to(f"/{unit}")
