"""What ``cncp`` says of itself: the overview, a verb's help, versions."""

from __future__ import annotations

import inspect
import os
import platform
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from invoke.parser.argument import Argument

from cncp import __version__
from cncp.config.settings import BY_KEY
from cncp.errors import CncpError
from cncp.tasks import guide, line
from cncp.tasks.verbs import task

_WIDTH = 79

_VALUES = {
    "count": "N",
    "file": "FILE",
    "host": "HOST",
    "hosts": "HOSTS",
    "host_keys": "accept-new|strict",
    "kind": "nftables|ufw|firewalld",
    "limit": "HOSTS",
    "output": "FILE",
    "provider": "qemu|libvirt|virtualbox",
    "timeout": "SECONDS",
    "wait": "SECONDS",
}
"""What an option's value looks like, where its name does not say it."""


def overview() -> str:
    """Return the help: what there is, on one screen."""
    lines = ["usage: cncp VERB [OPTIONS]     help: cncp VERB --help     all verbs: cncp --list", ""]
    for title, group in guide.GROUPS.items():
        if group.hidden:
            continue
        if group.short:
            names = textwrap.wrap(" ".join(group.verbs), _WIDTH - 18)
            lines += [f"{title if not at else '':<18}{text}" for at, text in enumerate(names)]
            continue
        for at, (name, entry) in enumerate(group.verbs.items()):
            lines.append(f"{title if not at else '':<8}{name:<10}{entry.brief}")
    lines.append(f"{'Completion':<18}source <(cncp --print-completion-script=bash), or zsh, fish")
    return "\n".join(lines)


def listing(prefix: str = "") -> str:
    """Return all verbs with what they do, in their groups; or those whose names begin so."""
    width = max(map(len, guide.VERBS)) + 2
    lines: list[str] = []
    for title, group in guide.GROUPS.items():
        rows = [f"  {name:<{width}}{entry.brief}" for name, entry in group.verbs.items() if name.startswith(prefix)]
        lines += [title, *rows] if rows else []
    if not lines:
        raise line.refusal(f"no verb begins with {prefix}", "see all verbs: cncp --list")
    return "\n".join(lines)


@dataclass(frozen=True)
class Help:
    """What there is to say of a verb: arguments and options as they are written, each with what it means."""

    usage: str
    text: str
    arguments: Mapping[str, str]
    options: Mapping[str, str]
    settings: Collection[str]
    """Which of the options are settings of the cluster."""
    examples: Sequence[str]


def of_verb(name: str) -> str:
    """Return the help of a verb: how it is called, what it does, its options, examples."""
    said = about(name)
    lines = [f"usage: {said.usage}", "", *textwrap.wrap(said.text, _WIDTH)]
    for word, text in said.arguments.items():
        lines += ["", f"  {word}", *_indented(text)]
    if said.options:
        lines.append("")
    for option, text in said.options.items():
        lines += [f"  {option}", *_indented(text)]
    lines += ["", "examples:", *(f"  {example}" for example in said.examples)]
    return "\n".join(lines)


def about(name: str) -> Help:
    """Return what there is to say of a verb."""
    verb = task(name)
    made = line.context(name, verb)
    needed = {_name(argument): argument for argument in line.required(made, verb)}
    arguments = {word.upper(): argument.help or "" for word, argument in needed.items()}
    taken = [f"[{_TAKEN.get(verb.takes, verb.takes.upper())}]"] if verb.takes else []
    rest = [verb.rest if verb.verbatim else f"-- {verb.rest}"] if verb.rest else []
    flags = {flag: argument for flag, argument in made.flags.items() if _name(argument) not in needed}
    options = {f"{flag} {value(argument)}".rstrip(): _meaning(argument) for flag, argument in flags.items()}
    return Help(
        usage=" ".join(["cncp", name, *arguments, *taken, *(["[OPTIONS]"] if flags else []), *rest]),
        text=inspect.getdoc(verb) or "",
        arguments=arguments,
        options=options,
        settings=[option for option, argument in zip(options, flags.values(), strict=True) if _is_setting(argument)],
        examples=guide.VERBS[name].examples,
    )


_TAKEN = {"name": "SERVICE...", "hosts": "HOST..."}


def _name(argument: Argument) -> str:
    return str(argument.name)


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


def _meaning(argument: Argument) -> str:
    return BY_KEY[_name(argument)].help if _is_setting(argument) else argument.help or ""


def _is_setting(argument: Argument) -> bool:
    return _name(argument) in BY_KEY and argument.default is None


def value(argument: Argument) -> str:
    """Return what the value of an option looks like, "" where it takes none."""
    if not argument.takes_value:
        return ""
    name = _name(argument)
    if _is_setting(argument):
        return BY_KEY[name].values
    shown = _VALUES.get(name, "N" if argument.kind is int else name.rstrip("_").upper())
    return f"{shown} ({argument.default})" if argument.default not in (None, "") else shown


def version() -> str:
    """Return versions, and where the code and the cluster are."""
    from importlib import metadata

    from cncp.config.sources import SOURCE

    lines = [
        f"cncp {__version__}",
        f"Python {platform.python_version()}, {os.path.realpath(sys.executable)}",
        f"ipyparallel {metadata.version('ipyparallel')}",
        f"code: {SOURCE}",
        f"service manager: {_manager()}",
    ]
    return "\n".join(lines)


def _manager() -> str:
    from cncp import accounts
    from cncp.machine.node import installed, kept_by

    try:
        node = installed(accounts.home(os.environ))
    except CncpError as error:
        return f"none: {error.message}"
    return kept_by(node.manager, node.scope)
