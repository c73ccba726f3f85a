"""A tree with little in it that could be an image: of systemd or of busybox, without a program that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cncp.netboot.blancmange.image_initrd import LOADED
from cncp.netboot.cidd import Place
from cncp.netboot.image_store import Manifest
from cncp.netboot.mkimg import exclude_lists, image_making
from cncp.netboot.mkimg.archives import Format
from cncp.netboot.mkimg.tree_sources import Folder

VERSION = "6.1.0-9-amd64"


def plant(root: Path, *, systemd: bool = True) -> Path:
    """Make one in a new folder, and return that."""
    files = {
        f"boot/vmlinuz-{VERSION}": "kernel",
        f"boot/initrd.img-{VERSION}": "initrd",
        f"usr/lib/modules/{VERSION}/modules.dep": "",
        f"usr/lib/modules/{VERSION}/modules.order": "",
        f"usr/lib/modules/{VERSION}/modules.builtin": "".join(f"kernel/fs/{name}.ko\n" for name in LOADED),
        "usr/bin/python3": "#!/bin/sh\n",
        "etc/hostname": "node7\n",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n",
        "etc/shadow": "root:$y$j9T$abc:20000:0:99999:7:::\nada:$6$def:20000:0:99999:7:::\nsshd:!:20000::::::\n",
        "etc/ssh/ssh_host_ed25519_key": "secret",
        "etc/ssh/sshd_config": "PasswordAuthentication no\n",
        "etc/cncp/cidkid.json": "secret",
        "tmp/left": "nobody's",
        **({"usr/lib/systemd/systemd": "init"} if systemd else {"usr/bin/busybox": "init", "etc/inittab": ""}),
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/shadow").chmod(0o640)
    return root


def make(
    folder: Path, tree: Path, name: str = "compute-1-0", form: Format = "tar.zst", say: Callable[[str], object] = str
) -> Manifest:
    """Make an image of a tree, with the usual list."""
    place = Place(folder)
    source = Folder(tree, place.folder)
    excluded = exclude_lists.patterns(source.usual, "the usual list")
    return image_making.make(name, image_making.Recipe(source, form, excluded), place, say)
