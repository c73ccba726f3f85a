"""What is in Blancmange's initramfs: files, libraries and modules of Debian's packages, our programs, where cidd is.

Nothing in it is a secret: whoever is on the network where nodes boot can fetch it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cncp.netboot.blancmange import disk_layout, esp_image, grub_images, initramfs_base
from cncp.netboot.blancmange.cpio_archive import Member, file, folder, link
from cncp.netboot.blancmange.initramfs_base import BUSYBOX
from cncp.netboot.blancmange.top_config import HERE, TopConfig
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree

_PROGRAMS = {"init.sh": "init", "provision.sh": "usr/bin/provision", "udhcpc.sh": "etc/cncp/udhcpc.sh"}
_ACCOUNT = {
    "root": folder(0o700),
    # A password of "*" is none: who logs in has a key.
    "etc/passwd": file(b"root:*:0:0:root:/root:/bin/sh\n"),
    "etc/group": file(b"root:x:0:\n"),
}


@dataclass(frozen=True)
class Reach:
    """How a node reaches cidd: https://HOST:PORT, its certificate's SHA-256, http://HOST:PORT, the key of images."""

    url: str
    fingerprint: str
    plain: str
    public: str


def build_packages(tree: UnpackedTree, config: TopConfig, reach: Reach, authorized_keys: str) -> dict[str, Member]:
    """Return all members of the initramfs by their paths. Raises CncpError.

    ``authorized_keys`` are the public keys of those who may log in; without any, nobody may.
    """
    return {
        **initramfs_base.members(tree.path(BUSYBOX), tree.modules, config.modules, config.load),
        **_ACCOUNT,
        **_programs(tree, config),
        **_scripts(),
        **node_settings(config, reach, authorized_keys),
        **_grub(tree, config, reach),
    }


def _programs(tree: UnpackedTree, config: TopConfig) -> dict[str, Member]:
    libraries = {name for program in config.programs for name in tree.libraries(program)}
    return {name.lstrip("/"): file(tree.file(name), 0o755) for name in (*config.programs, *libraries)}


def _scripts() -> dict[str, Member]:
    found = {}
    for path in (HERE / "initramfs").glob("*.sh"):
        found[_PROGRAMS.get(path.name, f"usr/lib/cncp/{path.name}")] = file(path.read_bytes(), 0o755)
    for path in (HERE / "cidkid.d").glob("*.sh"):
        # What cidkid calls has the name of a verb; the rest is read by that.
        name = path.stem if path.stem in ("switch", "blancmange") else path.name
        found[f"etc/cncp/cidkid.d/{name}"] = file(path.read_bytes(), 0o755)
    return {**found, "usr/lib/cncp/grubenv.sh": link("/etc/cncp/cidkid.d/grubenv.sh")}


def node_settings(config: TopConfig, reach: Reach, authorized_keys: str) -> dict[str, Member]:
    """Return what a node is told: where cidd is, the disk and its layout. Raises CncpError."""
    settings = {
        "url": reach.url,
        "fingerprint": reach.fingerprint,
        "images.pub": reach.public,
        "arguments": config.arguments,
        "disk": config.disk,
        "layout": disk_layout.table(disk_layout.read(config.layout_folder)).rstrip("\n"),
    }
    found = {f"etc/cncp/{name}": file(f"{text}\n".encode()) for name, text in settings.items()}
    keys = {"root/.ssh": folder(0o700), "root/.ssh/authorized_keys": file(authorized_keys.encode(), 0o600)}
    return {**found, **(keys if authorized_keys else {})}


def _grub(tree: UnpackedTree, config: TopConfig, reach: Reach) -> dict[str, Member]:
    boot, core = grub_images.images(tree)
    commands = (HERE / "initramfs/grub.cfg").read_text()
    filled = commands.replace("@CIDD@", reach.plain).replace("@ARGUMENTS@", config.arguments)
    return {
        "usr/lib/grub/boot.img": file(boot),
        "usr/lib/grub/core.img": file(core),
        "usr/lib/grub/grub.cfg": file(filled.encode()),
        **_esp(tree, config),
    }


def _esp(tree: UnpackedTree, config: TopConfig) -> dict[str, Member]:
    if disk_layout.ESP not in (partition.name for partition in disk_layout.read(config.layout_folder)):
        return {}
    parts = esp_image.parts(grub_images.efi_image(tree))
    return {f"usr/lib/grub/esp/{name}": file(content) for name, content in parts.items()}
