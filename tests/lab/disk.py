"""The disk of a host: an overlay on a base tree, and what makes it this host's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil

from .command import run
from .host import Host
from .ssh import Keys, prepare_sshd
from .users import User, add_user

NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/24
# A pulled cable is a fault on the way, not a change of this host's address.
IgnoreCarrierLoss=yes
# Nothing else answers on the bridge: do not wait for it.
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


ROOM = 6 * 2**30
"""Bytes of memory that have to be free for disks to be kept there: a host that runs a cluster has some 200 MB."""


def in_memory(folder: Path) -> None:
    """Have disks that are made in a folder be kept in memory, where there is room.

    An installation is 20,000 small files: on a slow disk that is most of its time, and of that of taking it away.
    """
    folder.mkdir(parents=True)
    if psutil.virtual_memory().available > ROOM:
        run(["mount", "-t", "tmpfs", "-o", "mode=755,size=75%", "tmpfs", folder])


def make_disk(
    host: Host,
    base: Path,
    people: Mapping[User, int],
    keys: Keys,
    shared_home: Path | None,
) -> str:
    """Mount the disk of a host that is off, and fill it in; gives its ssh host key.

    ``people`` are its users with their numbers, and ``shared_home`` a folder out
    here that becomes its /home.
    """
    root = host.root
    upper, work = root.parent / "upper", root.parent / "work"
    for folder in (root, upper, work):
        folder.mkdir(parents=True)
    options = f"lowerdir={base},upperdir={upper},workdir={work}"
    run(["mount", "-t", "overlay", "-o", options, "overlay", root])
    if shared_home is not None:
        run(["mount", "--bind", shared_home, root / "home"])
    (root / "etc/hostname").write_text(f"{host.name}\n")
    # Not left to the first boot: that one would also run all presets.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    network = root / "etc/systemd/network/10-host0.network"
    network.write_text(NETWORK.format(address=host.address))
    key = prepare_sshd(root, keys)
    for user, uid in people.items():
        add_user(root, user, uid)
    return key
