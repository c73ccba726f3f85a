"""What a shell may complete a command line of ``cncp`` with: verbs, options, their values, services, hosts."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Sequence

from invoke.completion.complete import print_completion_script
from invoke.exceptions import ParseError
from invoke.parser.argument import Argument

from cncp.errors import CncpError
from cncp.tasks import guide, helptext, line


def script(shell: str) -> str:
    """Return the script by which a shell completes command lines of ours. Raises UsageError."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            print_completion_script(shell=shell, names=["cncp"])
    except ParseError:
        raise line.refusal(f"there is no completion for the shell {shell!r}", "name one of: bash, fish, zsh") from None
    # Where nothing of ours fits, files do: scripts to run, what is copied to hosts.
    return said.getvalue().replace(" --no-files", "")


def candidates(words: Sequence[str]) -> Iterator[str]:
    """Yield what the last word may be, or what may follow it. The program's name is the first word.

    A shell hands over no empty last word and chooses by itself what begins as the last word does.
    """
    from cncp.tasks.program import task

    name = guide.ALIASES.get(words[1], words[1]) if len(words) > 1 else ""
    if len(words) < 3:
        yield from guide.VERBS
    if name not in guide.VERBS:
        return
    verb = task(name)
    if verb.verbatim or "--" in words:
        return
    made = line.context(name, verb)
    for word in (words[-1], words[-2]):
        if word in made.flags and made.flags[word].takes_value:
            yield from _values(made.flags[word])
            return
    yield from made.flags
    if verb.takes:
        yield from _values(made.args[verb.takes])


def _values(one: Argument) -> Iterator[str]:
    known = {"name": _services, "limit": _hosts, "hosts": _hosts, "host": _hosts}.get(str(one.name))
    if known is not None:
        # Where there is no cluster, or a file that cannot be read, there is nothing to complete.
        with contextlib.suppress(CncpError, OSError):
            yield from known()
        return
    yield from (word for word in helptext.value(one).split(" ")[0].split("|") if re.fullmatch("[a-z-]+", word))


def _services() -> Sequence[str]:
    from cncp.machine import place
    from cncp.machine.node import installed

    return installed(place.home(os.environ)).services


def _hosts() -> Sequence[str]:
    from cncp.tasks import fleet as fleets

    found = fleets.inventory(fleets.asked(None))
    return [host.name for host in found.everyone] if found else []
