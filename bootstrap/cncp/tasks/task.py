"""What all tasks share: errors as two lines and an exit code, settings as flags."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

from cncp import accounts, command_log, interrupted
from cncp.config.settings import SETTINGS
from cncp.config.variables import switched
from cncp.errors import CncpError, ours

SWITCHES = {"json": "CNCP_JSON", "quiet": "CNCP_QUIET", "verbose": "CNCP_VERBOSE", "forget": "CNCP_FORGET"}
"""Options without a value that are also variables, in every verb that has them."""

_OURS = ("file", "flags", "forget", "host_keys")
"""Arguments that say from here what is asked of the controller's machine, and are no words for it."""

_DEBUG = "show each command that is run, where, for how long and how it ended"


class Verb(Task):  # type: ignore[type-arg]
    """A task of ours, with what ``cncp`` lets follow its name beside the options.

    ``takes`` names the argument that words without an option are for, several of them with commas
    between; ``rest`` says what may follow two dashes, "" where nothing may. With ``verbatim`` all that
    follows the verb itself is that. ``at_controller`` is as for ``command``.
    """

    takes = ""
    rest = ""
    verbatim = False
    at_controller = ""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the options as Invoke reads them from the function; asked again, it returns the same.

        Invoke takes the help of options out of what it was given.
        """
        given = self.help
        self.help = dict(given)
        try:
            own: list[Argument] = super().get_arguments(ignore_unknown_help)
        finally:
            self.help = given
        # What follows a verb with words of its own is not for us.
        return own if self.verbatim else [*own, Argument(name="debug", kind=bool, default=False, help=_DEBUG)]


def _home() -> Path | None:
    """Return CNCP_HOME, None where it cannot be known: a verb that needs it says so itself."""
    with contextlib.suppress(CncpError):
        return accounts.home(os.environ)
    return None


def _wherever(name: str, body: Callable[..., None]) -> Callable[..., None]:
    """Return what does a verb here, or at the controller's machine where the cluster is wholly that one's."""
    without = {key: parameter.default for key, parameter in inspect.signature(body).parameters.items()}

    @functools.wraps(body)
    def done(context: object, *arguments: Any, **named: Any) -> None:
        # Not at the top: no other verb takes any of this.
        from cncp.config.asked import request
        from cncp.tasks import scenes

        flags = named.get("flags", {})
        asked = request(os.environ, file=named.get("file"), flags=flags, forget=named.get("forget", False))
        cluster = scenes.elsewhere(asked)
        if cluster is None:
            body(context, *arguments, **named)
            return
        from cncp.tasks import elsewhere

        given = {key: value for key, value in named.items() if key not in _OURS and value != without[key]}
        host_keys = named.get("host_keys", "accept-new")
        elsewhere.verb(name, given, asked, cluster, settings="flags" in named, host_keys=host_keys)

    return done


def remainder(argv: Sequence[str]) -> list[str]:
    """Return the words after ``--``, as they were given: Invoke itself would join them to one string."""
    return list(argv[argv.index("--") + 1 :]) if "--" in argv else []


def command(
    help: Mapping[str, str] | None = None,
    *,
    settings: bool = False,
    takes: str = "",
    rest: str = "",
    verbatim: bool = False,
    at_controller: str = "",
    **options: Any,
) -> Callable[[Any], Verb]:
    """Make a task of a function: as ``invoke.task``, with our errors.

    With ``settings`` every setting of the cluster becomes a flag of the task, and the function is
    given those that were used as one mapping, its last argument. ``at_controller`` is the task's whole name where
    the controller's machine does it for a cluster that is wholly its own. For the others see Verb.
    """

    def decorate(own: Callable[..., None]) -> Verb:
        body = _wherever(at_controller, own) if at_controller else own

        @functools.wraps(body)
        def checked(context: object, *arguments: Any, **named: Any) -> None:
            if settings:
                given = {setting.key: named.pop(setting.key) for setting in SETTINGS}
                named["flags"] = {key: value for key, value in given.items() if value is not None}
            try:
                debug = named.pop("debug", False) or switched(os.environ, "CNCP_DEBUG")
                command_log.begin(_home(), body.__name__, debug=debug)
                for option, variable in SWITCHES.items():
                    if option in named:
                        named[option] = named[option] or switched(os.environ, variable)
                body(context, *arguments, **named)
            except BrokenPipeError:
                # Whoever read our output has seen enough.
                os._exit(0)
            except KeyboardInterrupt:
                interrupted.say(interrupted.verb_of(sys.argv))
                raise Exit(code=130) from None
            except (CncpError, OSError) as error:
                failure = ours(error)
                raise Exit(f"error: {failure.message}\nhint: {failure.hint}", failure.exit_code) from None

        texts = dict(help or {})
        signature = inspect.signature(body)
        if settings:
            keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
            others = [parameter for parameter in signature.parameters.values() if parameter.name != "flags"]
            flags = [inspect.Parameter(setting.key, keyword, default=None) for setting in SETTINGS]
            signature = signature.replace(parameters=[*others, *flags])
            texts.update({setting.key: f"{setting.values}: {setting.help}" for setting in SETTINGS})
        checked.__signature__ = signature  # type: ignore[attr-defined]
        made: Verb = task(klass=Verb, help=texts, auto_shortflags=False, **options)(checked)
        made.takes, made.rest, made.verbatim, made.at_controller = takes, rest, verbatim, at_controller
        return made

    return decorate
