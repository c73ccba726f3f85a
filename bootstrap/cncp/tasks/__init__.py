"""The Invoke collections: flags and wiring only."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence

from invoke.collection import Collection

_TASKS = {
    "attach": "attach",
    "connect": "connect",
    "console": "attach",
    "firewall": "firewall",
    "init": "init",
    "plan": "plan",
}
"""Tasks beside the verbs on a cluster, and their modules."""

_COLLECTIONS = ("bundle", "dist", "hosts", "jupyter", "keys", "profile", "vm")

_OF_ALL = {"--list", "-l", "--complete"}
"""Options of Invoke that name every task there is."""


def collection(words: Iterable[str] = ()) -> Collection:
    """Return the tasks that a command line of these words may mean, all of them where it names none.

    To import what a command line does not use would take longer than most commands do.
    """
    made = Collection.from_module(importlib.import_module("cncp.tasks.cluster"))
    for name in _meant(words, made.task_names):
        module = importlib.import_module(f"cncp.tasks.{_TASKS.get(name, name)}")
        if name in _TASKS:
            made.add_task(getattr(module, name))
        else:
            made.add_collection(Collection.from_module(module))
    return made


def _meant(words: Iterable[str], verbs: Iterable[str]) -> Sequence[str]:
    """Return which tasks and collections a command line needs beside the verbs on a cluster."""
    names = (*_TASKS, *_COLLECTIONS)
    said = {word.partition(".")[0] for word in words}
    found = [name for name in names if name in said]
    # Help and mistakes need them all.
    return names if said & _OF_ALL or not (found or said.intersection(verbs)) else found
