"""The ``cncp`` command: the tasks that ``invoke`` has in a checkout, one a command line, found from anywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from invoke.config import Config
from invoke.context import Context
from invoke.exceptions import Exit

from cncp import interrupted
from cncp.console import Console
from cncp.errors import UsageError
from cncp.tasks import completion, helptext, line
from cncp.tasks.task import Verb
from cncp.tasks.verbs import task


def main() -> None:
    """Run the command line and exit."""
    try:
        sys.exit(answer(sys.argv[1:]))
    except BrokenPipeError:
        # Whoever read the help has seen enough; for what tasks print, see `command`.
        os._exit(0)
    except (KeyboardInterrupt, interrupted.Ended) as error:
        sys.exit(interrupted.exit_code(error))


def answer(words: Sequence[str]) -> int:
    """Do what a command line says; return the exit code."""
    try:
        run(words)
    except UsageError as error:
        return Console().error(error)
    except Exit as end:
        if end.message:
            print(end.message, file=sys.stderr, flush=True)
        return int(end.code)
    return 0


def run(words: Sequence[str]) -> None:
    """Do what a command line says. Raises UsageError where it makes no sense, Exit where it has failed."""
    first, *others = words or ["--help"]
    if first.startswith("--") and "=" in first:
        first, _, value = first.partition("=")
        others.insert(0, value)
    if first in ("--help", "-h", "help"):
        print(helptext.of_verb(line.verb_of(*others[:2])) if others else helptext.overview())
    elif first in ("--version", "-V", "version"):
        print(helptext.version())
    elif first in ("--list", "-l"):
        print(helptext.listing(others[0] if others else ""))
    elif first == "--complete":
        for candidate in completion.candidates(others[1:] or [""]):
            print(candidate)
    elif first == "--print-completion-script":
        print(completion.script(others[0] if others else ""))
    else:
        _do(line.verb_of(first, next(iter(others), "")), others)


def _do(name: str, words: list[str]) -> None:
    verb = task(name)
    if _asks_for_help(verb, words):
        print(helptext.of_verb(name))
        return
    if verb.verbatim and words[:1] != ["--"]:
        words = ["--", *words]
    named = line.read(name, verb, words)
    # What follows two dashes is read from there; see `remainder`.
    sys.argv = [sys.argv[0], name, *words]
    interrupted.while_working()
    # Nothing of Invoke's own settings is ours: no file and no variable of it is read.
    verb(Context(Config(lazy=True)), **named)


def _asks_for_help(verb: Verb, words: list[str]) -> bool:
    own = words[:1] if verb.verbatim else words[: words.index("--")] if "--" in words else words
    return "--help" in own or "-h" in own


__all__ = ["answer", "main", "run"]
