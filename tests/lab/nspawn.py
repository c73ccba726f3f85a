"""A lab: some hosts on one bridge, made for a test and gone after it.

    with Lab() as lab:
        host = lab.host("gold")
        host.boot()
        host.run(["id"], user="ada")

The hosts are systemd-nspawn containers on overlay mounts, with a real systemd,
logind and sshd each. Nothing of the machine they run on is changed beyond a
bridge, mounts in the lab's own folder, and control groups of the lab's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, final

from . import state
from .base import base_tree
from .command import CommandError, LabError, LabTimeoutError, run
from .disk import in_memory, make_disk
from .host import Host
from .machine import Machine
from .needs import missing
from .network import Bridge
from .serve import git_daemon, serve_directory
from .ssh import Keys, Login
from .users import FIRST_UID, User

__all__ = [
    "CommandError",
    "Host",
    "Lab",
    "LabError",
    "LabTimeoutError",
    "User",
    "base_tree",
    "git_daemon",
    "missing",
    "serve_directory",
]


@final
class Lab:
    """Hosts on a bridge. ``keep`` makes a lab that stays when its process ends, ``memory`` one with its disks there."""

    def __init__(self, keep: bool = False, *, memory: bool = False) -> None:
        self._keep = keep
        self._memory = memory
        self._record: state.Record | None = None
        self.hosts: dict[str, Host] = {}

    # From start to end ------------------------------------------------------

    def start(self) -> Lab:
        """Clean up after crashed labs, then make the bridge and the lab's key."""
        if lacks := missing():
            raise LabError("; ".join(lacks), "as root: apt-get install $(cat tests/lab/apt.txt)")
        self.sweep()
        self._record = state.claim(self._keep)
        try:
            self.bridge.create()
            self.keys.create()
            if self._memory:
                in_memory(self.folder / "hosts")
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def find(cls, record: state.Record) -> Lab:
        """Find a lab that another process started, from what it wrote down."""
        lab = cls(keep=True)
        lab._record = record
        for entry in record.hosts:
            lab._make(entry)
        return lab

    @staticmethod
    def sweep() -> list[str]:
        """Remove what labs of dead processes left; gives the names of their bridges."""
        return state.sweep()

    def close(self) -> None:
        """Switch all hosts off at once and remove everything of the lab."""
        if self._record is not None:
            record, self._record = self._record, None
            self.hosts.clear()
            with state.changing():
                state.dismantle(record)

    def __enter__(self) -> Lab:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._keep:
            self.close()

    # What it is made of -----------------------------------------------------

    @property
    def record(self) -> state.Record:
        """What is written down about the lab."""
        if self._record is None:
            raise LabError("the lab is not started", "use it as a context manager")
        return self._record

    @property
    def bridge(self) -> Bridge:
        """The bridge, with the address of this machine on it."""
        return Bridge(self.record.bridge, self.record.octet)

    @property
    def address(self) -> str:
        """The address of this machine as the hosts see it: bind servers to it."""
        return self.bridge.address

    @property
    def folder(self) -> Path:
        """Where the lab keeps disks, keys and logs."""
        return self.record.folder

    @property
    def keys(self) -> Keys:
        """The lab's key pair and ssh configuration."""
        return Keys(self.folder)

    @property
    def ssh_config(self) -> Path:
        """A configuration for ``ssh -F`` that logs in to any host by its name."""
        return self.keys.config

    # Hosts ------------------------------------------------------------------

    def host(
        self,
        name: str,
        suite: str = "bookworm",
        extra: tuple[str, ...] = (),
        users: Sequence[str | User] = ("ada",),
        shared_home: Path | None = None,
    ) -> Host:
        """Make a host; it is off until it is booted.

        ``extra`` are Debian packages it has beyond the usual ones, and
        ``shared_home`` a folder out here that is its /home, as with NFS.
        """
        if name in self.hosts:
            raise LabError(f"the lab has a host {name} already")
        used = {host["index"] for host in self.record.hosts}
        index = next(number for number in count() if number not in used)
        entry: dict[str, Any] = {
            "name": name,
            "index": index,
            "suite": suite,
            "machine": f"l{self.record.octet}h{index}",
            "address": self.bridge.host_address(index),
            "users": [asdict(User.named(user)) for user in users],
            "key": "",
        }
        base = base_tree(suite, extra)
        self.record.hosts.append(entry)
        self.record.save()
        host = self._make(entry)
        try:
            self._build(host, base, shared_home, entry)
        except BaseException:
            self.remove(host)
            raise
        return host

    def boot(self, *hosts: Host) -> None:
        """Boot several hosts (all that are off, when none is named) at the same time."""
        chosen = hosts or [host for host in self.hosts.values() if not host.running]
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(Host.boot, chosen))

    def give_key(self, host: Host, user: str) -> None:
        """Let ``user`` on this host log in to all hosts of the lab, as anybody there."""
        home = host.run(["printenv", "HOME"], user).stdout.strip()
        host.write(f"{home}/.ssh/id_ed25519", self.keys.private.read_text(), user, 0o600)
        host.write(f"{home}/.ssh/known_hosts", self.keys.known_hosts.read_text(), user)

    def remove(self, host: Host) -> None:
        """Switch a host off at once and throw its disk away."""
        host.power_cut()
        state.unmount_below(host.root.parent)
        run(["rm", "-rf", "--one-file-system", host.root.parent], timeout=120)
        self.record.hosts = [entry for entry in self.record.hosts if entry["name"] != host.name]
        self.record.save()
        del self.hosts[host.name]
        self._introduce()

    def _make(self, entry: dict[str, Any]) -> Host:
        """Make the host that an entry of the record describes."""
        folder = self.folder / "hosts" / entry["name"]
        machine = Machine(entry["machine"], entry["name"], folder / "root", self.bridge.name, folder)
        users = [User(**user) for user in entry["users"]]
        login = Login(self.keys, entry["name"])
        host = Host(machine, entry["address"], entry["suite"], users, login)
        self.hosts[host.name] = host
        return host

    def _build(self, host: Host, base: Path, shared_home: Path | None, entry: dict[str, Any]) -> None:
        """Make the disk, and tell everybody about the new host."""
        people = {user: self._uid(user.name) for user in host.users.values()}
        entry["key"] = make_disk(host, base, people, self.keys, shared_home)
        self.record.save()
        self._introduce()

    def _uid(self, name: str) -> int:
        """Give the number of a user, the same on every host of the lab."""
        return self.record.uids.setdefault(name, FIRST_UID + len(self.record.uids))

    def _introduce(self) -> None:
        """Tell every host, and the lab's ssh, the names of all hosts."""
        made = [entry for entry in self.record.hosts if entry["key"]]
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{entry['address']} {entry['name']}" for entry in made]
        for entry in made:
            (self.hosts[str(entry["name"])].root / "etc/hosts").write_text("\n".join([*lines, ""]))
        self.keys.write({str(entry["name"]): (str(entry["address"]), str(entry["key"])) for entry in made})
