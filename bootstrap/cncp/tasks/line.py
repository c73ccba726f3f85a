"""A command line of ``cncp``: one verb and its words. What makes no sense is refused with what may have been meant."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Sequence
from typing import Any

from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from cncp.config.settings import FORMER_FLAGS
from cncp.config.sources import SOURCE
from cncp.errors import UsageError
from cncp.tasks import guide
from cncp.tasks.task import Verb

_SCRIPT = SOURCE / "baremetal.sh"

_OF_THE_INSTALLATION = {"--python", "--offline", "--offline-digest", "--install-only"}
"""Options of baremetal.sh alone."""

_TRIAL = {"--dry", "--dry-run", "--simulate", "--noop", "--no-act", "--what-if", "-R", "-n", "-N"}
"""What other programs call a run that changes nothing."""


def refusal(problem: str, hint: str) -> UsageError:
    """Return the error of a command line."""
    return UsageError(f"command line: {problem}", hint)


def verb_of(word: str, following: str = "") -> str:
    """Return the verb that the first word of a command line is, by its name or another. Raises UsageError.

    ``following`` is the next word, which shows what may have been meant.
    """
    if word.startswith("-"):
        raise _stray_option(word)
    verb = guide.ALIASES.get(word, word)
    if verb in guide.VERBS:
        return verb
    raise refusal(f"there is no verb {word}", _meant(word, following))


def _stray_option(word: str) -> UsageError:
    flag = word.partition("=")[0]
    problem = f"there is no option {flag}"
    if flag in _TRIAL:
        return refusal(problem, "see what would change, and change nothing: cncp plan")
    return refusal(problem, "the verb comes first, then its options: cncp VERB --help; all verbs: cncp --list")


def _meant(word: str, following: str) -> str:
    if word in guide.ELSEWHERE:
        return guide.ELSEWHERE[word]
    if f"{word}.{following}" in guide.VERBS:
        return f"did you mean cncp {word}.{following}?"
    group = [name for name in guide.VERBS if name.startswith(f"{word}.")]
    if group:
        return f"name one of: {', '.join(group)}"
    close = difflib.get_close_matches(word, [*guide.VERBS, *guide.ALIASES], 1)
    if close:
        return f"did you mean cncp {guide.ALIASES.get(close[0], close[0])}?"
    return "see all verbs: cncp --list"


def context(name: str, verb: Verb) -> ParserContext:
    """Return the options and arguments of a verb."""
    return ParserContext(name, args=verb.get_arguments())


def required(made: ParserContext, verb: Verb) -> list[Argument]:
    """Return the arguments that a verb wants as words, in order."""
    return [argument for argument in made.positional_args if verb.takes not in (argument.attr_name, argument.name)]


def read(name: str, verb: Verb, words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a verb from the words after it. Raises UsageError.

    Of an option that is given twice the last one counts, as in baremetal.sh.
    """
    made = context(name, verb)
    waiting = required(made, verb)
    given, taken = list(words), []
    while given:
        word = given.pop(0)
        if word == "--":
            if not verb.rest:
                raise refusal(f"{name} takes nothing after --", _help(name))
            break
        if (
            word.startswith("-")
            and not (word == "-" and verb.takes)
            and not (waiting and re.fullmatch(r"-[0-9]+", word))
        ):
            _option(made, word, given)
        elif waiting:
            _set(made, waiting.pop(0), word)
        elif verb.takes:
            taken.append(word)
        else:
            raise _too_much(name, word)
    if taken:
        made.args[verb.takes].value = ",".join(taken)
    lacking = [argument for argument in made.positional_args if argument.value is None]
    if lacking:
        raise refusal(f"{name} needs {str(lacking[0].name).upper()}", f"for instance: {guide.VERBS[name].examples[0]}")
    return dict(made.as_kwargs)


def _option(made: ParserContext, word: str, given: list[str]) -> None:
    flag, equals, value = word.partition("=")
    if flag in made.inverse_flags and not equals:
        made.flags[made.inverse_flags[flag]].set_value(value=False, cast=False)
        return
    if flag not in made.flags:
        raise _no_option(made, flag, value if equals else next(iter(given), ""))
    argument = made.flags[flag]
    if not argument.takes_value:
        if equals:
            raise refusal(f"{flag} takes no value", f"say {flag} alone, or leave it out")
        argument.set_value(value=True, cast=False)
        return
    if not equals:
        if not given or given[0] in made.flags or given[0] == "--":
            raise refusal(f"{flag} needs a value", _help(str(made.name)))
        value = given.pop(0)
    _set(made, argument, value)


def _set(made: ParserContext, argument: Argument, text: str) -> None:
    try:
        argument.value = text
    except ValueError:
        raise refusal(f"not a whole number: {text!r}", _help(str(made.name))) from None


def _no_option(made: ParserContext, flag: str, value: str) -> UsageError:
    problem = f"{made.name} has no option {flag}"
    if flag in _TRIAL:
        hint = "see what would change: cncp plan" if made.name == "up" else "there is no trial run but of up: cncp plan"
        return refusal(problem, hint)
    if flag in FORMER_FLAGS:
        return refusal(
            problem, f"it is {FORMER_FLAGS[flag]} now" + (f": {FORMER_FLAGS[flag]} {value}" if value else "")
        )
    if flag in _OF_THE_INSTALLATION:
        # Which Python and from where: that is made before there is a cncp, by the script that is kept with the code.
        given = f" {value}" if value and flag != "--install-only" and not value.startswith("-") else ""
        return refusal(problem, f"it is one of the installation: bash {shlex.quote(str(_SCRIPT))} {flag}{given}")
    close = _alike(flag, list(made.flags))
    if not close:
        return refusal(problem, _help(str(made.name)))
    shown = f" {value}" if value and made.flags[close].takes_value and not value.startswith("-") else ""
    return refusal(problem, f"did you mean {close}{shown}?")


def _alike(flag: str, flags: Collection[str]) -> str:
    if re.fullmatch(r"-[A-Za-z]", flag):
        return next((candidate for candidate in flags if candidate.startswith(f"--{flag[1].lower()}")), "")
    return next(iter(difflib.get_close_matches(flag, flags, 1, 0.7)), "")


def _too_much(name: str, word: str) -> UsageError:
    if word in guide.VERBS or word in guide.ALIASES:
        verb = guide.ALIASES.get(word, word)
        return refusal(
            f"{name} takes no word {word}; cncp {verb} would {guide.VERBS[verb].brief}",
            f"one verb a command line: run cncp {verb} by itself if you mean that",
        )
    return refusal(f"{name} takes no word {word!r}", _help(name))


def _help(name: str) -> str:
    return f"see cncp {name} --help"
