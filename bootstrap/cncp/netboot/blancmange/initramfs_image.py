"""Builds Blancmange: its packages, its files, its image; put where cidd gives it to nodes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cncp.files import lock, write_atomic
from cncp.netboot.blancmange import debian_packages
from cncp.netboot.blancmange.cpio_archive import Member, archive
from cncp.netboot.blancmange.debian_packages import get_packages
from cncp.netboot.blancmange.initramfs_tree import Reach, build_packages
from cncp.netboot.blancmange.top_config import TopConfig
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree
from cncp.netboot.minisign import SigningKey

_PATIENCE = 600.0  # s for another of us that builds

SIGNED_FOR = "blancmange"
"""What the signature of its sums says that it is of, as an image's says the image's name."""


def build_image(tree: UnpackedTree, members: Mapping[str, Member]) -> bytes:
    """Return the initramfs. Raises CncpError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "initramfs"
        path.write_bytes(archive(members))
        tree.run("usr/bin/zstd", "-q", "-12", path)
        return path.with_name("initramfs.zst").read_bytes()


def build(folder: Path, config: TopConfig, reach: Reach, key: SigningKey, authorized_keys: str, cache: Path) -> None:
    """Have Blancmange be in a folder of cidd's (``cidd.Place.blancmange``): kernel, initramfs, and their signed sums.

    ``cache`` keeps Debian's packages for the next time. Raises CncpError, with all as it was.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with lock(cache / "lock", "building Blancmange", _PATIENCE):
        tree = UnpackedTree(debian_packages.unpacked(get_packages(config.packages, config.kernel, cache), cache))
        _put(folder, _files(tree, config, build_packages(tree, config, reach, authorized_keys)), key)


def _files(tree: UnpackedTree, config: TopConfig, members: Mapping[str, Member]) -> dict[str, bytes]:
    return {
        "kernel": tree.file(f"boot/vmlinuz-{tree.kernel}"),
        "initramfs": build_image(tree, members),
        "arguments": f"{config.arguments}\n".encode(),
    }


def _put(folder: Path, files: Mapping[str, bytes], key: SigningKey) -> None:
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in ("kernel", "initramfs")).encode()
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, content in {**files, "sums": sums, "sums.minisig": key.sign(sums, SIGNED_FOR)}.items():
        write_atomic(folder / name, content)
