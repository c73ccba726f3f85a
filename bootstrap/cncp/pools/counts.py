"""How large `cncp scale` has made pools: kept in our folder, and as good as the file says until that says otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cncp.errors import UsageError
from cncp.files import make_home
from cncp.pools.base import Pool
from cncp.records import Record
from cncp.state_files import StateFile


@dataclass(frozen=True)
class Count(Record):
    """How large a pool is to be, as long as what is ``written`` in the file stays that."""

    count: int | None
    written: object


@dataclass(frozen=True)
class Counts(Record):
    """Those of all pools, by name."""

    counts: Mapping[str, Count] = field(default_factory=dict)


STORE = StateFile("pools.json", Counts, "cncp scale sets it again", "how large pools are")


def _kept(home: Path) -> Mapping[str, Count]:
    return (STORE.intact(home) or Counts()).counts


def keep(pool: Pool) -> None:
    """Have a pool be as large as it is now from here on, until the file says another number."""
    make_home(pool.home)
    STORE.save(pool.home, Counts({**_kept(pool.home), pool.name: Count(pool.count, pool.written)}))


def restore(pools: Sequence[Pool], home: Path) -> None:
    """Have pools be as large as was kept, where the file says what it said then."""
    scalable = [pool for pool in pools if pool.count is not None]
    counts = _kept(home) if scalable else {}
    for pool in scalable:
        kept = counts.get(pool.name)
        # What is not possible any more is not wanted any more.
        with contextlib.suppress(UsageError):
            if kept and kept.count is not None and kept.written == pool.written:
                pool.scale(kept.count)
