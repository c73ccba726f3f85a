"""What `cncp up` is asked for on several machines, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cncp.config.inventory import HostSpec, Inventory
from cncp.config.parsers import Value
from cncp.pools.base import Pool
from cncp.pools.former_pools import Former
from cncp.ssh.connection import Host
from cncp.ssh.rpc import Facts

HOME = ".local/share/cncp"
"""Where everything of ours is on a host, relative to the login user's home."""

SHARED = f"{HOME}/shared"
"""Where the hosts that share a home keep their virtualenv and code, and each a folder of its own."""

DIAL = 5.0
"""Seconds for a port to answer."""


@dataclass(frozen=True)
class Fleet:
    """A cluster of several machines and what is asked of it.

    ``settings`` are those of each host by name, ``home`` is the folder of the machine in charge,
    ``limit`` the hosts that are concerned; ``whole`` says that it is all of them, and those that pools will give.
    ``pools`` are where hosts come from, ``former`` those that the file has no more, and ``choose`` gives the settings
    of a host that has just come, or raises UsageError.
    """

    inventory: Inventory
    settings: Mapping[str, Mapping[str, Value]]
    home: Path
    limit: tuple[HostSpec, ...]
    strict: bool = False
    whole: bool = True
    pools: tuple[Pool, ...] = ()
    former: tuple[Former, ...] = ()
    choose: Callable[[HostSpec], Mapping[str, Value]] = lambda host: host.settings

    @property
    def reached(self) -> tuple[HostSpec, ...]:
        """The hosts that are connected to: those concerned, and the controller's, but not this machine."""
        head = self.inventory.controller
        return self.hosts if head.local else (head, *self.hosts)

    @property
    def concerned(self) -> tuple[Pool, ...]:
        """The pools that are to be acquired: all, or those that have one of the hosts concerned."""
        names = {host.name for host in self.limit}
        return tuple(
            pool for pool in self.pools if self.whole or names.intersection(host.name for host in pool.hosts())
        )

    @property
    def hosts(self) -> tuple[HostSpec, ...]:
        """The hosts concerned that run engines only."""
        return tuple(host for host in self.limit if host.name != self.inventory.controller.name)


@dataclass(frozen=True)
class Surveyed:
    """What is known of a host. ``root`` holds code and virtualenv, ``home`` the rest: one folder for most.

    ``shared`` are the names of the hosts that have the same home, itself among them, or empty; ``skew`` is by how many
    s its clock is ahead of ours.
    """

    host: Host
    facts: Facts
    shared: tuple[str, ...] = ()
    skew: float = 0.0

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return self.host.spec.name

    @property
    def root(self) -> str:
        """The folder of code and virtualenv, absolute."""
        return str(PurePosixPath(self.facts.home) / (SHARED if self.shared else HOME))

    @property
    def home(self) -> str:
        """The folder of this host's own state (CNCP_HOME), absolute."""
        return f"{self.root}/{self.name}" if self.shared else self.root

    @property
    def has_tunnels(self) -> bool:
        """Whether it has something to connect, or had."""
        return self.home in self.facts.tunnels

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which this host's cncp finds its own place."""
        own = {"CNCP_INSTANCE": self.name, "IPYTHONDIR": f"{self.home}/ipython"} if self.shared else {}
        return {"CNCP_HOME": self.home, **own}
