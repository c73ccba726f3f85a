"""The one renderer of what a user reads: phases, notes, tables, errors."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO, TypeVar

from cncp.errors import CncpError, ours, shown
from cncp.records import as_json

T = TypeVar("T")


class Console:
    """Writes progress and results.

    Progress goes to standard error and results to standard output, so that ``--json`` and pipes
    stay clean. ``quiet`` drops progress, ``verbose`` adds how long its phases take. What hosts and
    programs say comes through here with control characters as escapes: nothing of it is an order to
    the terminal.
    """

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.quiet = quiet
        self.verbose = verbose
        self.began = time.monotonic()
        self._label = ""

    def of(self, label: str) -> Console:
        """Return a console for one machine of several, whose progress is not shown; ``label`` precedes its warnings."""
        made = Console(self.out, self.err, quiet=True)
        made._label = label
        return made

    def phase(self, text: str) -> None:
        """Announce a step of the work."""
        self._progress(f"==> {text}")

    def note(self, text: str) -> None:
        """Say a detail of the current step."""
        self._progress(f"    {text}")

    def detail(self, text: str) -> None:
        """Say what only who asked for it wants to read."""
        if self.verbose:
            self.note(text)

    def warn(self, text: str) -> None:
        """Say something the user should act on although the work goes on."""
        self.complain(f"warning: {self._label}{text}")

    def complain(self, text: str) -> None:
        """Print a line of what is not as it should be."""
        print(shown(text, kept="\t"), file=self.err, flush=True)

    def error(self, error: CncpError | OSError) -> int:
        """Say what failed and what to do about it, a line each; return the exit code for that."""
        failure = ours(error)
        print(f"error: {failure.message}", file=self.err)
        print(f"hint: {failure.hint}", file=self.err, flush=True)
        return failure.exit_code

    def say(self, text: str) -> None:
        """Print a line of the result, or several."""
        print(shown(text, kept="\n\t"), file=self.out, flush=True)

    def data(self, value: object) -> None:
        """Print a result for programs: records, or JSON types."""
        json.dump(as_json(value), self.out, indent=2, sort_keys=True)
        self.out.write("\n")
        self.out.flush()

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns as wide as their widest cell."""
        cells = [[shown(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
        for row in (header, *cells):
            self.say("  ".join(map(str.ljust, row, widths)).rstrip())

    def pages(self, look: Callable[[], T], every: float = 0.0) -> Iterator[T]:
        """Yield what ``look`` returns, to be shown; with ``every`` again after so many s, each on a page of its own."""
        while True:
            seen = look()
            if every and self.out.isatty():
                # Home, and nothing below: ECMA-48, CUP and ED.
                self.out.write("\x1b[H\x1b[J")
            yield seen
            if not every:
                return
            self.out.flush()
            time.sleep(every)

    def elapsed(self) -> float:
        """Seconds since this console was made, which is when the command began."""
        return time.monotonic() - self.began

    def _progress(self, text: str) -> None:
        if not self.quiet:
            self.complain(text)


class Stopwatch:
    """How long the phases of some work take: in ``seconds`` by name, and on the console where that is verbose."""

    def __init__(self, console: Console) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time of a block, whether it succeeds or not; what is done in several blocks is added up."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 3)
            self._console.detail(f"{name}: {took:.2f} s")


def answered(work: Callable[[], object]) -> int:
    """Be a program for programs: print as JSON what ``work`` returns, or its error; return the exit code."""
    console = Console()
    try:
        console.data(work())
    except (CncpError, OSError) as error:
        return console.error(error)
    return 0
