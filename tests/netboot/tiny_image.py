"""An image of a few MB that boots in seconds: busybox, Debian's Python, and the real cidkid."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cncp.netboot import cidkid
from cncp.netboot.blancmange import debian_packages, image_initrd
from cncp.netboot.blancmange.initramfs_image import build_image
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree
from cncp.netboot.image_store import ImageStore, Manifest
from cncp.netboot.minisign import SigningKey
from cncp.netboot.mkimg.archives import Format, pack

KERNEL = "linux-image-cloud-amd64"
MODULES = ("virtio_blk", "virtio_net", "virtio_pci")

_PACKAGES = (
    *("busybox-static", "libbz2-1.0", "libc6", "libexpat1", "libffi8", "liblz4-1", "liblzma5", "libpython3.11-minimal"),
    *("libpython3.11-stdlib", "libssl3", "libgcc-s1", "python3.11-minimal", "zlib1g", "zstd"),
)

_INIT = """#!/bin/sh
mount -t tmpfs run /run
ip link set lo up
for card in /sys/class/net/eth*; do
    ip link set "${card##*/}" up
    udhcpc -q -f -n -t 8 -T 1 -i "${card##*/}" -s /etc/udhcpc.sh > /dev/null 2>&1 &
done
until ip addr show scope global | grep -q inet; do sleep 0.1; done
echo "this is $(cat /etc/release), $([ -e /used ] && echo used || echo fresh)" > /dev/console
touch /used
python3.11 /usr/lib/cidkid.py > /dev/console 2>&1
echo "cidkid has ended" > /dev/console
while :; do sleep 60; done
"""

_UDHCPC = """#!/bin/sh
[ "$1" != bound ] || ip addr add "$ip/$mask" dev "$interface"
"""

_REBOOT = """#!/bin/sh
sync
mount -o remount,ro /
exec busybox reboot -f
"""


class TinyImage:
    """What such images are made from, unpacked in a folder that is kept."""

    def __init__(self, cache: Path) -> None:
        packages = debian_packages.get_packages(_PACKAGES, KERNEL, cache)
        self.tree = UnpackedTree(debian_packages.unpacked(packages, cache))
        busybox = self.tree.path("usr/bin/busybox")
        self._initrd = build_image(self.tree, image_initrd.members(busybox, self.tree.modules, MODULES))

    def root(self, folder: Path, name: str) -> Path:
        """Return a folder with an image's tree."""
        for part in ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib/python3.11"):
            leave = shutil.ignore_patterns(
                "gconv", "test", "__pycache__", "lib2to3", "distutils", "pydoc_data", "libdb*"
            )
            shutil.copytree(self.tree.folder / part, folder / part, symlinks=True, ignore=leave)
        for part in ("usr/sbin", "etc/cncp/cidkid.d", "dev", "proc", "sys", "run", "tmp", "usr/bin"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for part in ("bin", "lib", "lib64", "sbin"):
            (folder / part).symlink_to(f"usr/{part}")
        for program in ("busybox", "python3.11"):
            shutil.copy(self.tree.path(f"usr/bin/{program}"), folder / "usr/bin" / program)
        for applet in subprocess.run(
            [folder / "usr/bin/busybox", "--list"], capture_output=True, text=True, check=True
        ).stdout.split():
            if applet not in ("busybox", "reboot"):
                (folder / "usr/bin" / applet).symlink_to("busybox")
        shutil.copy(str(cidkid.__file__), folder / "usr/lib/cidkid.py")
        for path, content in (
            *(("usr/sbin/init", _INIT), ("usr/sbin/reboot", _REBOOT), ("etc/udhcpc.sh", _UDHCPC)),
            ("etc/cncp/cidkid.d/drain", "#!/bin/sh\n"),
        ):
            (folder / path).write_text(content)
            (folder / path).chmod(0o755)
        (folder / "etc/release").write_text(f"{name}\n")
        return folder

    def add(self, images: ImageStore, key: SigningKey, name: str, folder: Path, form: Format = "tar.zst") -> Manifest:
        """Have an image be in a store; ``folder`` is one for its tree."""
        root = self.root(folder, name)
        packed = folder.with_suffix(f".{form}")
        pack(root, packed, form)
        shutil.rmtree(root)
        blobs = []
        initrd = folder.with_suffix(".initrd")
        initrd.write_bytes(self._initrd)
        for role, path in (
            ("root", packed),
            ("kernel", self.tree.path(f"boot/vmlinuz-{self.tree.kernel}")),
            ("initrd", initrd),
        ):
            with path.open("rb") as content:
                blobs.append(images.add_blob(role, content))  # type: ignore[arg-type]
        manifest = Manifest(name, form, 1.0, tuple(blobs))
        images.add(manifest, key)
        return manifest
