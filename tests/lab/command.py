"""The one way the lab runs a program, and the one error it raises.

Every other module of the lab calls :func:`run`, so that arguments are always a
list, a time-out is always set, and a failure always says what was run and what
the program printed.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 4000  # characters of output worth showing in an error

#: What programs inside a host start with, so that nothing of the tester's own
#: environment (proxies, pip settings) leaks into it.
PLAIN_ENV: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class LabError(Exception):
    """Something in the lab failed: a message, and a hint where one helps."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\nhint: {hint}")
        self.message = message
        self.hint = hint


class CommandError(LabError):
    """A program ended with a status other than 0; ``result`` has its output."""

    def __init__(self, result: subprocess.CompletedProcess[str], where: str = "") -> None:
        said = (result.stderr or result.stdout or "").strip()[-TAIL:]
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{shlex.join(result.args)} ended with status {result.returncode}: {said}")
        self.result = result


class LabTimeoutError(LabError):
    """A wait in the lab took longer than it was allowed to."""


def run(
    argv: Sequence[str | Path],
    *,
    input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
    check: bool = True,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
    where: str = "",
    shown: Sequence[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program and give its status and output as text.

    ``input`` is its standard input (empty when None), ``timeout`` is in seconds,
    ``where`` names the host in errors, and ``shown`` replaces the arguments in
    the result, for callers that wrap the command somebody else asked for.
    Raises :class:`CommandError` when ``check`` and the status is not 0, and
    :class:`LabTimeoutError` when the time is over.
    """
    words = [str(word) for word in argv]
    told = list(shown) if shown is not None else words
    stdin = input.encode() if isinstance(input, str) else input
    try:
        done = subprocess.run(
            words,
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=timeout,
            env=None if env is None else dict(env),
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed", "install the packages in tests/lab/apt.txt") from error
    except subprocess.TimeoutExpired as error:
        said = b"".join(part for part in (error.stdout, error.stderr) if part)
        raise LabTimeoutError(
            f"{where + ': ' if where else ''}{shlex.join(told)} was not done in {timeout:g} s: "
            + said.decode(errors="replace")[-TAIL:]
        ) from error
    result = subprocess.CompletedProcess(
        told,
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
    if check and result.returncode != 0:
        raise CommandError(result, where)
    return result
