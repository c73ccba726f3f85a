"""The one exception base: what is wrong, what to do about it, and the exit code that says so."""

import errno
import re

FAILED = 1
USAGE = 2
SOME_HOSTS = 3
PREFLIGHT = 4
WOULD_CHANGE = 5


_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str, kept: str = "") -> str:
    """Return text that does nothing to a terminal but stand there, whoever wrote it.

    Colours are left out, other control characters, and those that turn the direction of writing, are shown
    as escapes, but for the characters ``kept``.
    """

    def escape(found: re.Match[str]) -> str:
        return found[0] if found[0] in kept else ascii(found[0])[1:-1]

    return _CONTROL.sub(escape, _COLOURS.sub("", text))


def plural(number: int, noun: str) -> str:
    """Return a number of things in words: 1 host, 2 hosts."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return a time in the unit that people would take."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class CncpError(Exception):
    """A failure that a user can act on.

    ``message`` is one line saying what is wrong, ``hint`` one line saying what to do; the command
    line prints both and exits with ``exit_code``. A traceback that reaches a user is a bug.
    """

    exit_code = FAILED

    def __init__(self, message: str, hint: str) -> None:
        # Half of what goes into them comes from hosts, files and programs.
        super().__init__(shown(message))
        self.message = shown(message)
        self.hint = shown(hint)


class NotInstalled(CncpError):
    """What the file names needs a package that is not there; the settings may ask for it."""


class UsageError(CncpError):
    """The command line, the environment or a file says something that makes no sense."""

    exit_code = USAGE


class PreflightError(CncpError):
    """The machine lacks something that must be there before anything is changed."""

    exit_code = PREFLIGHT


def told(said: str) -> tuple[str, str]:
    """Return the last error and its hint from what another cncp wrote, "" where there is none."""
    lines = said.splitlines()

    def last(mark: str) -> str:
        return next((line.removeprefix(mark) for line in reversed(lines) if line.startswith(mark)), "")

    return last("error: "), last("hint: ")


def ours(error: CncpError | OSError) -> CncpError:
    """Return an error as one of ours, which a failure of the system, as of a full disk, becomes by a hint."""
    if isinstance(error, CncpError):
        return error
    message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CncpError(message, "make room on that disk, then run this again: it goes on from where it was")
    return CncpError(message, "mend that, then run this again: it goes on from where it was")
