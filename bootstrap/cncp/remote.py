"""``python -m cncp.remote VERB [WORD]...``: the one name by which all that is elsewhere reaches this code.

What is elsewhere outlives a version: units and crontabs, the profile's files, the cookbook on a Chef server, and
the machine in charge of a cluster, whose code is older or newer than that of its hosts until ``cncp up``. Modules
may move; this name, its verbs and its classes stay. A program that answers says first in which version of this
protocol it does. For people there is ``python -m cncp``.
"""

from __future__ import annotations

import importlib
import sys
from itertools import pairwise

# Every service begins with this, twice: what is not imported is time in which engines start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PROTOCOL = 1
"""What the answers mean; it grows when another version of cncp would misread them."""

GREETING = "cncp.remote"
"""The line before an answer: this, and the protocol's number."""


class Program:
    """The module whose ``main`` a verb runs, and whether standard output is its answer."""

    def __init__(self, module: str, *, answers: bool = True) -> None:
        self.module = module
        self.answers = answers


VERBS = {
    "chef": Program("cncp.machine.chef_api"),
    "cidcapt": Program("cncp.netboot.cidcapt", answers=False),
    "cncp": Program("cncp.tasks.program"),
    "death": Program("cncp.serve.death", answers=False),
    "engines": Program("cncp.machine.ops.engine_states"),
    "serve": Program("cncp.serve.__main__", answers=False),
    "supervisord": Program("cncp.supervisord", answers=False),
    "tunnels": Program("cncp.machine.tunnels"),
    "up": Program("cncp.machine.ops.main"),
    "work": Program("cncp.machine.ops.draining_engines", answers=False),
}

_CLASSES = {"Running": "cncp.serve.lab_cluster", "Launcher": "cncp.serve.lab_cluster"}
"""What ipyparallel imports by the names that stand in the profile's files."""

_FORMER = {"cncp.serve": "serve", "cncp.serve.death": "death", "cncp.supervisord": "supervisord"}
"""Modules that processes of earlier versions run, and today's verbs for them."""


def command(*words: str) -> list[str]:
    """Return the words after Python and its options that run a verb."""
    return ["-m", "cncp.remote", *words]


def verb_of(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return which verb a process with this command line runs, and its arguments; "" where it runs none."""
    options = iter(range(1, len(words) - 1))
    for at in options:
        if words[at] == "-m":
            module, arguments = words[at + 1], words[at + 2 :]
            if module == "cncp.remote":
                return (arguments[0], arguments[1:]) if arguments else ("", ())
            return _FORMER.get(module, ""), arguments
        if words[at] in ("-X", "-W"):
            next(options, None)
        elif not words[at].startswith("-"):
            break
    return "", ()


def waits_to_tell(words: Sequence[str]) -> bool:
    """Tell whether a command line is to run `death`, once the shell that it belongs to has waited for that."""
    return "cncp.serve.death" in words or ("cncp.remote", "death") in pairwise(words)


def __getattr__(name: str) -> Any:
    """Return a class that the profile's files name."""
    if name not in _CLASSES:
        raise AttributeError(name)
    return getattr(importlib.import_module(_CLASSES[name]), name)


def main() -> None:
    """Run the verb of the command line and exit as it does."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb not in VERBS:
        print(f"error: cncp.remote has no {verb!r}", f"hint: it has {', '.join(VERBS)}", sep="\n", file=sys.stderr)
        sys.exit(2)
    program = VERBS[verb]
    del sys.argv[1]
    if program.answers:
        print(GREETING, PROTOCOL, flush=True)
    sys.exit(importlib.import_module(program.module).main())


if __name__ == "__main__":
    main()
