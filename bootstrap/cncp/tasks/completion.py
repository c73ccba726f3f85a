"""What a shell completes a command line of ``cncp`` with: verbs, options, their values, services, hosts.

All of it comes from the tables that help is made of. The scripts in shells/ hand over the words up to the
cursor, and show what is yielded here.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from invoke.parser.argument import Argument

from cncp.errors import CncpError
from cncp.machine.user_programs import SHELLS
from cncp.tasks import guide, helptext, line
from cncp.tasks.verbs import task

_KINDS = ("bash", "fish", "zsh")

_SCRIPT = "--print-completion-script"

_ALONE = {
    "--help": "show the verbs, or what one does",
    "--list": "list all verbs",
    "--version": "show versions, and where the code is",
    _SCRIPT: "print what a shell completes such lines by",
}
"""Options that stand in the place of a verb."""


def script(shell: str) -> str:
    """Return the script by which a shell completes command lines of ours. Raises UsageError."""
    if shell not in _KINDS:
        raise line.refusal(f"there is no completion for the shell {shell!r}", f"name one of: {', '.join(_KINDS)}")
    return (SHELLS / f"completion.{shell}").read_text(encoding="utf-8")


def candidates(words: Sequence[str]) -> Iterator[str]:
    """Yield what the last word may become, with a tab and what it means where that is known.

    ``words`` are those of the command line up to the cursor, the program first, the last one begun or empty.
    Of ``--pin=cores`` bash makes three words, and completes the third; the other shells leave it as one.
    """
    *whole, begun = words
    if begun == "=" and len(whole) > 1:
        begun = ""
    elif whole[-1:] == ["="]:
        whole.pop()
    flag, equals, value = begun.partition("=")
    if flag.startswith("--") and equals:
        found = [(f"{flag}={word}", text) for word, text in _after([*whole, flag], value).items()]
    else:
        found = [*_after(whole, begun).items()]
    for word, text in found:
        if word.startswith(begun):
            yield f"{word}\t{text}" if text else word


def _after(whole: Sequence[str], begun: str) -> Mapping[str, str]:
    """Return the words that may follow those of a command line, of which some fit what is begun, and what they mean."""
    verbs = {name: entry.brief for name, entry in guide.VERBS.items()}
    if len(whole) < 2:
        return {**verbs, **(_ALONE if begun.startswith("-") else {})}
    first, *others = whole[1:]
    if not others and first in ("help", "--help", "--list"):
        return verbs
    if not others and first == _SCRIPT:
        return dict.fromkeys(_KINDS, "")
    name = guide.ALIASES.get(first, first)
    return _of_verb(name, others, begun) if name in guide.VERBS else {}


def _of_verb(name: str, others: Sequence[str], begun: str) -> Mapping[str, str]:
    verb = task(name)
    if verb.verbatim or "--" in others:
        return {}
    made = line.context(name, verb)
    last = made.flags.get(others[-1]) if others else None
    if last is not None and last.takes_value:
        return _values(name, last, begun)
    awaited = [*line.required(made, verb), *([made.args[verb.takes]] if verb.takes else [])]
    if begun.startswith("-") or not awaited:
        return {option.partition(" ")[0]: text for option, text in helptext.about(name).options.items()}
    return {word: text for argument in awaited for word, text in _values(name, argument, begun).items()}


def _values(verb: str, argument: Argument, begun: str) -> Mapping[str, str]:
    """Return the values of an argument: of a list, such as gold1,gold2, what its last part may be."""
    find = _FOUND.get(str(argument.name))
    if find is None:
        shown = helptext.value(argument).partition(" ")[0].split("|")
        return dict.fromkeys((word for word in shown if re.fullmatch("[a-z-]+", word)), "")
    listed = begun[: begun.rfind(",") + 1]
    # Where there is no cluster, or a file that cannot be read, there is nothing to complete.
    with contextlib.suppress(CncpError, OSError, ValueError):
        return {listed + word: "" for word in find(verb)}
    return {}


def _named(verb: str) -> Iterable[str]:
    """Return the services of this machine, of ``vm.*`` the machines."""
    if verb.startswith("vm."):
        from cncp.tasks import vm

        return vm.names()
    from cncp import accounts
    from cncp.machine.node import installed

    return installed(accounts.home(os.environ)).services


def _hosts(verb: str) -> Iterable[str]:
    """Return the hosts of the cluster."""
    from cncp.tasks import scenes

    found = scenes.inventory(scenes.asked(None))
    return [host.name for host in found.everyone] if found.named else []


def _known(verb: str) -> Iterable[str]:
    """Return the hosts of the cluster, and those that the user's ssh has a name for."""
    found: list[str] = []
    with contextlib.suppress(CncpError):
        found += _hosts(verb)
    with contextlib.suppress(OSError, ValueError):
        for row in (Path.home() / ".ssh" / "config").read_text(encoding="utf-8").splitlines():
            keyword, _, names = row.strip().replace("=", " ", 1).partition(" ")
            if keyword.lower() == "host":
                found += [name for name in names.split() if re.fullmatch(r"[\w.-]+", name)]
    return found


_FOUND: Mapping[str, Callable[[str], Iterable[str]]] = {
    "name": _named,
    "limit": _hosts,
    "hosts": _known,
    "host": _known,
}
"""Values that are looked up, by the names of arguments."""
