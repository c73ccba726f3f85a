"""The pool of hosts that the file names: nobody makes them, and nobody takes them away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cncp.config import pool_tables
from cncp.config.inventory import HOSTS, HostSpec, PoolTable
from cncp.pools.base import Member, Pool, Say, State, Want


def _anything(raw: Any) -> Any:
    return raw


class Hosts(Pool):
    """Hosts that are there, and that ssh reaches by the names in the table."""

    kind: ClassVar = HOSTS

    wants: ClassVar[Mapping[str, Want]] = {
        # These are read with the file, before there is a virtualenv, and together.
        HOSTS: Want(_anything, '["gold[2-7]"]', "names and ranges, or a file of them"),
        "host": Want(_anything, "TABLES", "what is different on one host", {}),
    }

    def __init__(self, table: PoolTable, wanted: Mapping[str, Any], name: str, home: Path) -> None:
        super().__init__(table, wanted, name, home)
        self._hosts = tuple(pool_tables.named_hosts(table))

    def plan(self) -> Sequence[str]:
        """Nothing is to be made."""
        return ()

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """They are there."""
        return self._hosts

    def hosts(self) -> Sequence[HostSpec]:
        """Return all: whether one lets us in is seen when it is asked."""
        return self._hosts

    def observe(self) -> Sequence[Member]:
        """Return all: what runs on them, they say themselves."""
        return [Member(host.name, State.JOINED) for host in self._hosts]

    def release(self, names: Collection[str], say: Say) -> None:
        """They stay what they are."""
