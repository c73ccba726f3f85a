"""The task of a verb, imported alone."""

from __future__ import annotations

from cncp.tasks import collection
from cncp.tasks.task import Verb


def task(name: str) -> Verb:
    """Return the task of a verb; the module that has it is imported now, and no other."""
    found = collection([name])[name]
    assert isinstance(found, Verb)  # noqa: S101  # made by `command`, all of them
    return found
