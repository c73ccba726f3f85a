"""The Invoke collections: flags and wiring only."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence

from invoke.collection import Collection

_TASKS = {
    "attach": "attach",
    "check": "cluster",
    "connect": "connect",
    "console": "attach",
    "down": "cluster",
    "firewall": "firewall",
    "init": "init",
    "interrupt": "cluster",
    "invite": "invite",
    "join": "join",
    "logs": "cluster",
    "pip": "own",
    "plan": "plan",
    "python": "own",
    "restart": "cluster",
    "scale": "cluster",
    "run": "own",
    "shell": "own",
    "status": "cluster",
    "uninstall": "cluster",
    "up": "main_job",
}
"""Tasks and their modules."""

_COLLECTIONS = ("bundle", "cloud", "dist", "hosts", "image", "jupyter", "keys", "netboot", "node", "profile", "vm")


def collection(words: Iterable[str] = ()) -> Collection:
    """Return the tasks that a command line of these words may mean, all of them where it names none.

    To import what a command line does not use would take longer than most commands do.
    """
    made = Collection()
    for name in _meant(words):
        module = importlib.import_module(f"cncp.tasks.{_TASKS.get(name, name)}")
        if name in _TASKS:
            made.add_task(getattr(module, name))
        else:
            made.add_collection(Collection.from_module(module))
    return made


def _meant(words: Iterable[str]) -> Sequence[str]:
    """Return which tasks and collections a command line needs."""
    names = (*_TASKS, *_COLLECTIONS)
    said = {word.partition(".")[0] for word in words}
    return [name for name in names if name in said] or names
