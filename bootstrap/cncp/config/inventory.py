"""The hosts of a cluster, as the user described them, and where its controller runs.

Standard library only: it is read before there is a virtualenv.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cncp.config.host_way import DIRECT
from cncp.config.hostlist import expand, split
from cncp.config.parsers import Value
from cncp.errors import UsageError

LOCAL = "localhost"
"""The name of this machine in a pool: no ssh is made to it."""


ON_HOSTS = (
    "engines",
    "threads",
    "pin",
    "service_manager",
    "scope",
    "memory",
    "logs",
    "log_size",
    "log_keep",
    "converge",
    "environment",
)
"""Settings that a pool or a host can have of its own; all others are the cluster's."""

HOSTS = "hosts"
"""The provider of a pool that names its hosts, which needs not be said."""

TABLES = ("pool", "controller", "rendezvous")
"""Keys of cluster.toml that are of the inventory and no settings."""


@dataclass(frozen=True)
class HostSpec:
    """One host as the user described it. ``name`` is what ssh gets and what reports show.

    ``settings`` are those of its pool and its own, parsed. ``offline`` is a host that reaches no package
    index, ``connect`` one of `cncp.config.host_way.CONNECT`.
    """

    name: str
    user: str = ""
    port: int = 0
    jump: str = ""
    python: str = ""
    address: str = ""
    offline: bool = False
    connect: str = DIRECT
    settings: Mapping[str, Value] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return self.name == LOCAL

    @property
    def direct(self) -> bool:
        """Whether its engines reach the controller without ssh."""
        return self.connect == DIRECT


@dataclass(frozen=True)
class PoolTable:
    """A pool as it stands in the file: what a provider other than HOSTS makes, only that provider can read.

    ``where`` names it in errors, ``folder`` is what paths in it are relative to.
    """

    provider: str
    values: Mapping[str, object]
    where: str
    folder: Path

    @property
    def direct(self) -> bool:
        """Whether its engines are to reach the controller without ssh."""
        return bool(self.values.get("connect", DIRECT) == DIRECT)


@dataclass(frozen=True)
class Inventory:
    """All hosts with engines, in the order of the file, and where the controller runs.

    ``pools`` are the tables of the file. What providers have made is among the hosts once these were asked.
    ``named`` is whether anybody has named them: what is not is one machine by itself, which has no other to be told
    from.
    """

    hosts: tuple[HostSpec, ...]
    controller: HostSpec = HostSpec(LOCAL)
    pools: tuple[PoolTable, ...] = ()
    named: bool = True

    @property
    def on_controller(self) -> HostSpec | None:
        """The controller's machine, where it runs engines as well."""
        return next((host for host in self.hosts if host.name == self.controller.name), None)

    @property
    def everyone(self) -> tuple[HostSpec, ...]:
        """The controller's host first, then those that run engines only."""
        return (self.controller, *(host for host in self.hosts if host.name != self.controller.name))

    @property
    def provided(self) -> tuple[PoolTable, ...]:
        """The pools whose hosts the file does not name."""
        return tuple(pool for pool in self.pools if pool.provider != HOSTS)

    def joined(self, hosts: Iterable[HostSpec], origin: str) -> Inventory:
        """Return it with more hosts. Raises UsageError where one is there already."""
        together = (*self.hosts, *hosts)
        refuse_twice(together, origin)
        head = next((host for host in together if host.name == self.controller.name), self.controller)
        return replace(self, hosts=together, controller=head)

    def label(self, name: str) -> str:
        """Return what stands before each line that a machine says."""
        return f"[{name}] " if self.named else ""

    def whole(self, documents: Mapping[str, object]) -> Any:
        """Return the JSON types of all machines as those of the cluster: by name, where they have been named."""
        return dict(documents) if self.named else documents[self.controller.name]

    def limited(self, patterns: str) -> tuple[HostSpec, ...]:
        """Return the hosts that ``--limit`` names: ranges, with commas. Raises UsageError on strangers."""
        if not patterns:
            return self.everyone
        if not self.named:
            raise UsageError("command line: --limit, but the cluster is this machine alone", "leave --limit out")
        names = [host.name for host in self.everyone]
        known = set(names)
        wanted = set()
        for name in itertools.chain.from_iterable(expand(pattern, "--limit") for pattern in split(patterns)):
            wanted.add(name)
            if name not in known:
                close = difflib.get_close_matches(name, names, 1)
                raise UsageError(
                    f"command line: --limit names {name}, which is no host of this cluster",
                    f"did you mean {close[0]}?" if close else "the hosts are: " + ", ".join(names[:20]),
                )
        return tuple(host for host in self.everyone if host.name in wanted)


ALONE = Inventory((HostSpec(LOCAL),), named=False)
"""This machine by itself."""


def refuse_twice(hosts: Iterable[HostSpec], origin: str) -> None:
    """Raise UsageError where two hosts have one name."""
    seen: set[str] = set()
    for host in hosts:
        if host.name in seen:
            raise UsageError(f"{origin}: {host.name} is named twice", "name every host once")
        seen.add(host.name)
