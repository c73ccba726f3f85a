"""The embedded engine of convergence: compare, say what differs, change only that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.machine.actor import Actor
from cncp.machine.resources import Resource


@dataclass(frozen=True)
class Change:
    """A difference between what is and what is to be. ``diff`` is for people."""

    path: str
    action: str
    diff: str
    resource: Resource


def changes(resources: Sequence[Resource]) -> list[Change]:
    """Return what differs, in the order it has to be changed in. Changes nothing.

    Raises CncpError where something stands in the place of a file and is none.
    """
    found: list[Change] = []
    for resource in resources:
        try:
            difference = resource.difference()
        except OSError as error:
            raise CncpError(
                f"{resource.path} cannot be read: {error.strerror or error}",
                "move away what is there, then run this again",
            ) from None
        if difference is not None:
            found.append(Change(resource.path, difference.action, difference.diff, resource))
    return found


def apply(found: Sequence[Change], actor: Actor) -> None:
    """Make every change. Raises CncpError at the first that cannot be made."""
    for change in found:
        try:
            change.resource.apply(actor)
        except OSError as error:
            raise CncpError(
                f"{change.path} cannot be written: {error.strerror or error}",
                "make room or mend the permissions, then run cncp up again",
            ) from None


def remove(paths: Sequence[str], actor: Actor) -> None:
    """Remove files and links that are no longer wanted."""
    for path in paths:
        actor.remove(Path(path))
