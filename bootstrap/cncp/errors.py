"""The one exception base: what is wrong, what to do about it, and the exit code that says so."""

FAILED = 1
USAGE = 2
SOME_HOSTS = 3
PREFLIGHT = 4
WOULD_CHANGE = 5


class CncpError(Exception):
    """A failure that a user can act on.

    ``message`` is one line saying what is wrong, ``hint`` one line saying what to do; the command
    line prints both and exits with ``exit_code``. A traceback that reaches a user is a bug.
    """

    exit_code = FAILED

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CncpError):
    """The command line, the environment or a file says something that makes no sense."""

    exit_code = USAGE


class PreflightError(CncpError):
    """The machine lacks something that must be there before anything is changed."""

    exit_code = PREFLIGHT
