"""What packages of others may add, by entry points: found by name, imported when it is wanted, and held to its kind.

Facts: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cncp.errors import CncpError, NotInstalled, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Unknown(NotInstalled, UsageError):
    """There is none of that name, or it is of a package that is not installed."""


@dataclass(frozen=True)
class Kinds(Generic[T]):
    """All of something that there can be several kinds of.

    ``noun`` names it in errors, ``group`` is that of entry points, ``base`` the class that all of them are of, and
    ``ours`` has those of our own as MODULE:CLASS. No other has the name of one of ours.
    """

    noun: str
    group: str
    base: type[T]
    ours: Mapping[str, str]

    def names(self) -> list[str]:
        """Return the names of all there are, ours first."""
        return [*self.ours, *sorted({point.name for point in self._others()} - self.ours.keys())]

    def find(self, name: str, where: str) -> type[T]:
        """Return the class of this name. Raises Unknown where there is none, CncpError where it is none that fits.

        ``where`` is who asks for it.
        """
        if name in self.ours:
            module, _, within = self.ours[name].partition(":")
            found: type[T] = getattr(importlib.import_module(module), within)
            return found
        points = [point for point in self._others() if point.name == name]
        if not points:
            names = self.names()
            close = difflib.get_close_matches(name, names, 1)
            there = f"there are: {', '.join(names)}; that of another package is to be installed beside cncp"
            raise Unknown(f"{where}: there is no {self.noun} {name!r}", f"did you mean {close[0]}?" if close else there)
        return self._held(points)

    def _others(self) -> list[EntryPoint]:
        # It takes longer to import than most commands do, which need none of it.
        from importlib.metadata import entry_points

        return list(entry_points(group=self.group))

    def _held(self, points: list[EntryPoint]) -> type[T]:
        first, *more = {(point.value, _package(point)): point for point in points}.values()
        named = f"the {self.noun} {first.name} of {_package(first)}"
        if more:
            raise CncpError(f"{named} is one of {_package(more[0])} as well", "uninstall one of the two packages")
        try:
            found: Any = first.load()
        except Exception as error:
            raise CncpError(
                f"{named} cannot be imported: {type(error).__name__}: {error}", f"mend or uninstall {_package(first)}"
            ) from error
        if not inspect.isclass(found) or not issubclass(found, self.base):
            raise CncpError(f"{named} is none: {first.value} is no {self.base.__name__}", fault(_package(first)))
        if lacking := sorted(getattr(found, "__abstractmethods__", ())):
            raise CncpError(f"{named} is not whole: it lacks {', '.join(lacking)}", fault(_package(first)))
        return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value.partition(":")[0].partition(".")[0]


def fault(package: str) -> str:
    """Return what to do about a mistake in the code of a package."""
    return f"it is a fault of {package}: tell those who make it, or use another"
