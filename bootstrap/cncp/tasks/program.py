"""The ``cncp`` command: the same tasks as ``invoke``, found from anywhere."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from cncp import __version__
from cncp.errors import USAGE
from cncp.tasks import collection


class _Program(Program):
    """Invoke's program with our exit code and a hint for command lines that make no sense."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Read the options before the task."""
        words = joined(list(sys.argv if argv is None else argv))
        with_hint(lambda: super(_Program, self).parse_core(words), self.binary)

    def parse_tasks(self) -> None:
        """Read the task and its options."""
        with_hint(super().parse_tasks, self.binary)


def joined(argv: list[str]) -> list[str]:
    """Return a command line in which the hosts after ``init`` are one word, as Invoke wants it."""
    if len(argv) < 2 or argv[1] != "init":
        return argv
    names = []
    for word in argv[2:]:
        if word.startswith("-"):
            break
        names.append(word)
    return [*argv[:2], *([",".join(names)] if names else []), *argv[2 + len(names) :]]


def with_hint(parse: Callable[[], None], binary: str) -> None:
    """Run a step of parsing; turn its errors into ours. Raises Exit."""
    try:
        parse()
    except ParseError as error:
        unknown = re.fullmatch(r"No idea what '(.*)' is!", str(error))
        what = f"there is no task or option {unknown[1]}" if unknown else str(error)
        hint = f"see {binary} --list, {binary} --help TASK"
        raise Exit(f"error: command line: {what}\nhint: {hint}", USAGE) from None
    except ValueError as error:
        # Invoke lets the errors of int() through.
        what = f"not a whole number: {str(error).rpartition(': ')[2]}"
        raise Exit(f"error: command line: {what}\nhint: see {binary} --help TASK", USAGE) from None


def main() -> None:
    """Run the command line and exit."""
    tasks = collection(sys.argv[1:])
    try:
        _Program(name="cncp", binary="cncp", binary_names=["cncp"], namespace=tasks, version=__version__).run()
    except BrokenPipeError:
        # Whoever read the help has seen enough; for what tasks print, see `command`.
        os._exit(0)
