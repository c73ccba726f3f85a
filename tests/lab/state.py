"""What a lab writes down about itself, and how it is taken apart from that alone.

Every lab has a folder. It is written before the thing it names is made, so
whatever a crash leaves can be found and removed by the next run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .base import locked
from .cgroup import Group
from .command import run
from .network import Bridge, free_octet
from .process import Process, boot_id

RUBBISH = ".gone"


def state_dir() -> Path:
    """Where labs are written down: ``CNCP_LAB_STATE``, or ``/var/lib/cncp-lab``."""
    return Path(os.environ.get("CNCP_LAB_STATE", "/var/lib/cncp-lab"))


@dataclass
class Record:
    """One lab on disk. ``owner`` is None for a lab that outlives its command."""

    bridge: str
    octet: int
    owner: Process | None
    boot: str = field(default_factory=boot_id)
    hosts: list[dict[str, object]] = field(default_factory=list)
    uids: dict[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The lab's own folder."""
        return state_dir() / str(self.octet)

    @property
    def abandoned(self) -> bool:
        """Whether what would have ended this lab is gone: its process, or the boot it is of."""
        dead = self.owner is not None and not self.owner.alive()
        return dead or self.boot != boot_id()

    def save(self) -> None:
        """Write it down, all or nothing."""
        part = self.folder / "lab.json.part"
        part.write_text(json.dumps(asdict(self), indent=1))
        part.replace(self.folder / "lab.json")


def load(folder: Path) -> Record:
    """Read the lab that the folder describes."""
    document = json.loads((folder / "lab.json").read_text())
    owner = Process(**document["owner"]) if document["owner"] else None
    return Record(**{**document, "owner": owner})


def records() -> list[Record]:
    """Every lab on this machine."""
    found = sorted(state_dir().glob("*/lab.json"), key=lambda path: int(path.parent.name))
    return [load(path.parent) for path in found]


@contextmanager
def changing() -> Iterator[None]:
    """Hold the lock under which labs come and go."""
    state_dir().mkdir(parents=True, exist_ok=True)
    with locked(state_dir() / "lock"):
        yield


def claim(keep: bool) -> Record:
    """Reserve a network and a folder for a new lab of this process."""
    with changing():
        octet = free_octet({record.octet for record in records()})
        owner = None if keep else Process.of(os.getpid())
        record = Record(Bridge.named(octet).name, octet, owner)
        record.folder.mkdir(parents=True, exist_ok=True)
        record.save()
    return record


def dismantle(record: Record) -> None:
    """End every process of the lab, unmount its disks, remove its bridge and folder."""
    for host in record.hosts:
        group = Group(str(host["machine"]))
        group.kill()
        group.remove()
    for socket in record.folder.glob("ssh/*@*"):
        if socket.is_socket():
            run(["ssh", "-F", "/dev/null", "-S", socket, "-O", "exit", "lab"], check=False)
    unmount_below(record.folder)
    Bridge(record.bridge, record.octet).delete()
    # Renamed first: a folder is either a whole lab or rubbish, never half of one.
    record.folder.rename(record.folder.with_suffix(RUBBISH))
    remove_rubbish()


def remove_rubbish() -> None:
    """Remove the folders of labs that are already taken apart."""
    for folder in state_dir().glob(f"*{RUBBISH}"):
        run(["rm", "-rf", "--one-file-system", folder], timeout=120)


def unmount_below(folder: Path) -> None:
    """Unmount everything mounted in the folder, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(folder):
            run(["umount", mount])


def sweep() -> list[str]:
    """Take apart every lab whose owner is dead; gives the bridges of those labs."""
    swept = []
    with changing():
        remove_rubbish()
        for record in records():
            if record.abandoned:
                dismantle(record)
                swept.append(record.bridge)
    return swept
