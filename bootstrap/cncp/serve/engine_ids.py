"""Which id an engine has at the hub: by its place, a number on a host, for as long as the cluster is there."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cncp.files import read_record
from cncp.records import Record

Place = tuple[str, int]
"""A host's name and the number of an engine on it."""


@dataclass(frozen=True)
class Ours(Record):
    """What of the hub's engine table is ours: hosts, numbers of engines on them, and their ids."""

    places: tuple[tuple[str, int, int], ...]


class Places:
    """The ids of all places there have ever been. ``rows`` is what they are stored as."""

    def __init__(self, path: Path) -> None:
        """Read the ids from the hub's own engine table, into which ``rows`` went."""
        self._ids: dict[Place, int] = {}
        with contextlib.suppress(OSError):
            # In a table that is gone or damaged there are none: ids are given anew.
            stored = read_record(path, Ours)
            self._ids = {(host, number): ident for host, number, ident in stored.places} if stored else {}

    @property
    def rows(self) -> list[list[str | int]]:
        """Every place with its id, as JSON types."""
        return [[host, number, ident] for (host, number), ident in sorted(self._ids.items())]

    @property
    def ids(self) -> set[int]:
        """The ids that belong to places."""
        return set(self._ids.values())

    def beside(self, asked: object, taken: Collection[int]) -> int:
        """Return an id for an engine without a place: the one asked for, else one beyond all there are.

        What belongs to an engine that is away for now is not given away.
        """
        known = self.ids.union(taken)
        if isinstance(asked, int) and asked >= 0 and asked not in known:
            return asked
        return max(known, default=-1) + 1

    def take(self, place: Place, asked: int, taken: Collection[int]) -> int:
        """Return the id of a place: the one it had, else the one asked for, else the lowest of no other place.

        ``taken`` are ids in use. What belongs to an engine that is away for now stays free for it.
        """
        others = {ident for other, ident in self._ids.items() if other != place}
        wanted = [ident for ident in (self._ids.get(place), asked) if ident is not None]
        self._ids[place] = next(
            ident for ident in itertools.chain(wanted, itertools.count()) if ident not in taken and ident not in others
        )
        return self._ids[place]
