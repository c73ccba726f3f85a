"""Virtual machines as a pool of a cluster, and what makes them, which the verbs vm.* go by as well."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from cncp import accounts
from cncp.config.inventory import HostSpec
from cncp.config.parsers import choice, within
from cncp.errors import UsageError
from cncp.pools.base import Member, Pool, Say, State, Want
from cncp.pools.vm import seed
from cncp.pools.vm.qemu import Qemu
from cncp.pools.vm.site import PREFIX, Guest, Provider, Site, Wanted
from cncp.pools.vm.vagrant import LIBVIRT, VIRTUALBOX, Vagrant

QEMU = "qemu"
HYPERVISORS = (QEMU, LIBVIRT, VIRTUALBOX)

MOST, LEAST_MEMORY, MOST_MEMORY, MOST_CORES = 32, 512, 2**20, 256
"""Bounds of what can be asked for; memory in MiB."""


def account_home() -> Path:
    """Return the home of the account, where ssh has its keys and what it knows."""
    return Path(accounts.account(os.environ).home)


def own_site() -> Site:
    """Return the folder of the account's machines."""
    named = os.environ.get("CNCP_VM_HOME")
    return Site(Path(named).absolute() if named else account_home() / ".local" / "share" / "cncp-vm")


def qemu(site: Site) -> Qemu:
    """Return the machines under plain qemu."""
    return Qemu(site.folder, account_home())


def provider_of(site: Site, named: str = "") -> Provider:
    """Return what runs the machines there are, else the one that was named. Raises UsageError."""
    vagrant, machines = Vagrant(site.folder / "vagrant", account_home(), named), qemu(site)
    by_vagrant = vagrant.there() or named in (LIBVIRT, VIRTUALBOX)
    if by_vagrant and (machines.known() or named == QEMU):
        raise UsageError("there are machines of another provider", "take them away first: cncp vm.destroy")
    return vagrant if by_vagrant else machines


def _path(raw: Any) -> str:
    if isinstance(raw, str) and "\0" not in raw:
        return raw
    raise ValueError("the path of a qcow2, or the name of a box")


class Machines(Pool):
    """Virtual machines on this one: as many as are wanted run, with a cluster's engines on each."""

    kind: ClassVar = "vm"
    counted: ClassVar = "count"
    # All machines of an account have one range of names.
    only: ClassVar = True
    wants: ClassVar[Mapping[str, Want]] = {
        "count": Want(within(1, MOST, "machines"), "N", "how many machines", 1),
        "memory": Want(within(LEAST_MEMORY, MOST_MEMORY, "MiB"), "MIB", "memory of each machine", 1024),
        "cores": Want(within(1, MOST_CORES, "cores"), "N", "cores of each", 1),
        "image": Want(_path, "FILE|BOX", "what new ones are made of; that of vm.box without", ""),
        "hypervisor": Want(choice(*HYPERVISORS), "|".join(HYPERVISORS), "qemu, or by way of Vagrant another", ""),
    }

    @property
    def _provider(self) -> Provider:
        return provider_of(own_site(), self.wanted["hypervisor"])

    def _wanted(self) -> Wanted:
        image = self.wanted["image"]
        # The name of a box is none of a file.
        path = self.table.folder / os.path.expanduser(image)
        base = str(path) if image and path.exists() else image
        return Wanted(self.wanted["count"], self.wanted["memory"], self.wanted["cores"], base)

    def _names(self) -> list[str]:
        return [f"{PREFIX}{number}" for number in range(1, self.wanted["count"] + 1)]

    def check(self) -> None:
        """Look for the image, memory and keys."""
        made, wanted = self._provider, self._wanted()
        # Those that are more than are wanted stay off.
        made.check(replace(wanted, count=max(wanted.count, len(made.machines()))))
        seed.keys(account_home())

    def plan(self) -> Sequence[str]:
        """Name what is not there, or off."""
        states = {row.machine: row.state for row in self._provider.machines()}
        missing = [name for name in self._names() if name not in states]
        size = f"of {self.wanted['memory']} MiB, cores: {self.wanted['cores']}"
        off = [name for name in self._names() if states.get(name, "running") != "running"]
        return [*(f"make {name} {size}" for name in missing), *(f"start {name}" for name in off)]

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """Make those that are missing, start those that are off, and wait until all let us in."""
        folder = own_site()
        with folder.locked("up"):
            others = folder.hosts()
            guests = self._provider.up(self._wanted(), seed.keys(account_home()), say)
            names = {guest.spec.name for guest in guests}
            folder.write([*guests, *(Guest(spec) for name, spec in others.items() if name not in names)])
        return self.hosts()

    def hosts(self) -> Sequence[HostSpec]:
        """Return those that run, of those that are wanted."""
        running = self._running()
        known = own_site().hosts() if running else {}
        return [
            self.described(replace(known[name], settings={}))
            for name in self._names()
            if name in running and name in known
        ]

    def _running(self) -> list[str]:
        return [row.machine for row in self._provider.machines() if row.state == "running"]

    def observe(self) -> Sequence[Member]:
        """Return all there are, those that are more than are wanted as well."""
        wanted = self._names()
        more = f"{self.wanted['count']} are wanted"
        return [
            Member(name, State.JOINED, "" if name in wanted else more)
            if row.state == "running"
            else Member(name, State.ENDED, "it is off; cncp up starts it" if name in wanted else f"it is off; {more}")
            for row in self._provider.machines()
            for name in [row.machine]
        ]

    def surplus(self) -> Sequence[str]:
        """Return those that run and are more, the last first."""
        wanted = self._names()
        return [name for name in reversed(self._running()) if name not in wanted]

    def release(self, names: Collection[str], say: Say) -> None:
        """Shut them down; what is on them stays."""
        running = [name for name in self._running() if name in names]
        if running:
            say(f"shutting down {', '.join(running)}")
            with own_site().locked("down"):
                self._provider.down(running)

    def discard(self, say: Say) -> None:
        """Take them away with all that is on them; the image stays."""
        folder = own_site()
        if not folder.folder.exists():
            return
        with folder.locked("uninstall"):
            if names := list(folder.hosts()):
                say(f"taking away {', '.join(names)}")
            self._provider.destroy()
            folder.forget(account_home(), accounts.account(os.environ), self.home)
