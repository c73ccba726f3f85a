"""What all tasks share: errors as two lines and an exit code, settings as flags."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from cncp.cluster import SETTINGS
from cncp.errors import CncpError, ours


def command(
    help: Mapping[str, str] | None = None, *, settings: bool = False, **options: Any
) -> Callable[[Any], Task[Any]]:
    """Make a task of a function: as ``invoke.task``, with our errors.

    With ``settings`` every setting of the cluster becomes a flag of the task, and the function is
    given those that were used as one mapping, its last argument.
    """

    def decorate(body: Callable[..., None]) -> Task[Any]:
        @functools.wraps(body)
        def checked(context: object, *arguments: Any, **named: Any) -> None:
            if settings:
                given = {one.key: named.pop(one.key) for one in SETTINGS}
                named["flags"] = {key: value for key, value in given.items() if value is not None}
            try:
                body(context, *arguments, **named)
            except BrokenPipeError:
                # Whoever read our output has seen enough.
                os._exit(0)
            except (CncpError, OSError) as error:
                failure = ours(error)
                raise Exit(f"error: {failure.message}\nhint: {failure.hint}", failure.exit_code) from None

        texts = dict(help or {})
        signature = inspect.signature(body)
        if settings:
            keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
            own = [one for one in signature.parameters.values() if one.name != "flags"]
            flags = [inspect.Parameter(one.key, keyword, default=None) for one in SETTINGS]
            signature = signature.replace(parameters=[*own, *flags])
            texts.update({one.key: f"{one.values}: {one.help}" for one in SETTINGS})
        checked.__signature__ = signature  # type: ignore[attr-defined]
        made: Task[Any] = task(help=texts, auto_shortflags=False, **options)(checked)
        return made

    return decorate
