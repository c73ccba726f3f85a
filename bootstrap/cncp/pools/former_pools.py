"""Pools that the file has no more: what they have made is still there, and known, until it is let go.

The table of each pool is kept in our folder before it makes anything, so that it can be asked about, and told to let go
of it, when its table is gone, or the whole file.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cncp.config.inventory import HOSTS, HostSpec, PoolTable
from cncp.errors import CncpError, UsageError
from cncp.files import make_home
from cncp.pools.base import Member, Pool, Say, State
from cncp.records import Record
from cncp.state_files import StateFile

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Table(Record):
    """A table of the file as it was: ``folder`` is what paths in it are relative to."""

    provider: str
    values: Mapping[str, object]
    folder: str

    @classmethod
    def of(cls, table: PoolTable) -> Self:
        """Return a table that is to be kept."""
        return cls(table.provider, table.values, str(table.folder))


@dataclass(frozen=True)
class Tables(Record):
    """Those of all pools that may have made something, by the names that they had then."""

    tables: Mapping[str, Table]


STORE = StateFile(
    "pool-tables.json",
    Tables,
    "write the pools into cluster.toml again, and move it away: mv {path} {path}.damaged",
    "what pools were",
)


class Former(Pool):
    """What a pool has made that the file has no more: it is shown, and let go, and never more."""

    def __init__(self, table: PoolTable, name: str, home: Path, inner: Pool | CncpError) -> None:
        """``inner`` is the pool as it was, or why there is none: its package is gone, or it has other keys now."""
        # What its table says of engines is of no use, and may be what is not understood.
        super().__init__(replace(table, values={}), {}, name, home)
        self._inner = inner

    @property
    def inner(self) -> Pool:
        """The pool as it was. Raises CncpError where there is none of its kind."""
        if isinstance(self._inner, CncpError):
            forget = f"where nothing of it is left: rm {shlex.quote(str(STORE.path(self.home)))}"
            raise CncpError(f"what it has made is not known: {self._inner.message}", f"{self._inner.hint}; {forget}")
        return self._inner

    @property
    def count(self) -> int:
        """How many members are wanted."""
        return 0

    def scale(self, count: int) -> None:
        """Want none. Raises UsageError."""
        if count:
            raise UsageError(f"the pool {self.name} is no longer in the file", f"let it go: {self.remedy}")

    @property
    def remedy(self) -> str:
        """What lets go of it."""
        return f"cncp scale 0 --pool {self.name}"

    def surplus(self) -> Sequence[str]:
        """Return all members."""
        return [member.name for member in self.observe() if member.state is not State.ENDED]

    def drain(self, names: Collection[str], *, hold: bool = True) -> Sequence[str]:
        """Have no new work go to members."""
        return self.inner.drain(names, hold=hold)

    def plan(self) -> Sequence[str]:
        """Nothing is to be made."""
        return ()

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """Make nothing."""
        return ()

    def observe(self) -> Sequence[Member]:
        """Return what there is."""
        return self.inner.observe()

    def release(self, names: Collection[str], say: Say) -> None:
        """Let members go."""
        self.inner.release(names, say)

    def discard(self, say: Say) -> None:
        """Leave nothing of it behind, and know of it no more."""
        self.inner.discard(say)
        others = {name: table for name, table in kept(self.home).items() if name != self.name}
        STORE.save(self.home, Tables(others))


def keep(pools: Collection[Pool], home: Path) -> None:
    """Keep the tables of pools that are about to make something. ``home`` is our folder (CNCP_HOME)."""
    # Hosts that are there by themselves are kept as such, one by one.
    tables = {pool.name: Table.of(pool.table) for pool in pools if pool.table.provider != HOSTS}
    if tables:
        make_home(home)
        STORE.save(home, Tables({**kept(home), **tables}))


def names(tables: Sequence[PoolTable], home: Path) -> list[str]:
    """Return the names of pools: those that they had, also where others came or went before them in the file.

    One that is new, or was changed, takes that of one of its provider that is no longer there as it was; else it is
    the provider's own, and PROVIDER-2 and so on.
    """
    known = (STORE.intact(home) or Tables({})).tables
    found: dict[int, str] = {}

    def free(candidates: Iterable[str]) -> str:
        return next((name for name in candidates if name not in found.values()), "")

    for number, table in enumerate(tables):
        if name := free(name for name, old in known.items() if old == Table.of(table)):
            found[number] = name
    for number, table in enumerate(tables):
        if number not in found:
            changed = [name for name, old in known.items() if old.provider == table.provider]
            new = [f"{table.provider}-{count}" for count in range(2, len(tables) + len(known) + 2)]
            found[number] = free([*changed, table.provider, *new])
    return [found[number] for number in range(len(tables))]


def kept(home: Path) -> Mapping[str, Table]:
    """Return the tables of pools that may have made something, by name. Raises CncpError."""
    return (STORE.load(home) or Tables({})).tables
