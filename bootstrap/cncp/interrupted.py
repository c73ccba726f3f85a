"""Ctrl-C, SIGTERM and SIGHUP at any moment: one line and an exit code, never a traceback, and nothing left behind.

Standard library alone, and little of it: this comes before all other imports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

_OTHERS = (signal.SIGTERM, signal.SIGHUP)

GOES_ON = {
    "up": "up",
    "scale": "up",
    "restart": "up",
    "jupyter": "up",
    "jupyter.up": "up",
    "jupyter.down": "up",
    "join": "join",
    "down": "down",
    "uninstall": "uninstall",
    "keys.rotate": "keys.rotate",
    "keys.revoke": "keys.revoke",
    "vm.up": "vm.up",
    "vm.down": "vm.down",
    "vm.destroy": "vm.destroy",
}
"""Verbs that leave something to go on with, and the verb that does."""


class Ended(SystemExit):
    """SIGTERM or SIGHUP, as an exception: what is left on the way out cleans up."""


INSTALLING = "baremetal.sh"
"""What is interrupted before there is a verb."""


def text(verb: str) -> str:
    """Say that a verb was interrupted, and what goes on where it was."""
    if verb == INSTALLING:
        again = "bash ./baremetal.sh"
    elif verb in GOES_ON:
        again = f"cncp {GOES_ON[verb]}"
    else:
        return "interrupted"
    return f"interrupted: what was done stays; {again} goes on from there"


def while_importing(verb: str) -> None:
    """End at once from now on: nothing has begun that would have to be cleaned up."""

    def end(number: int, _: object) -> None:
        say(verb)
        os._exit(128 + number)

    _handle((signal.SIGINT, *_OTHERS), end)


def while_working() -> None:
    """Raise KeyboardInterrupt on Ctrl-C from now on, Ended on the other signals."""
    _handle((signal.SIGINT,), signal.default_int_handler)
    _handle(_OTHERS, _end)


def hold() -> None:
    """Keep Ctrl-C waiting: for `os.execv` of a program of ours, which takes it when it is ready (``__main__``)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def say(verb: str) -> None:
    """Write the line; a terminal may be gone. A second Ctrl-C ends what is still cleaning up."""
    _handle((signal.SIGINT,), signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.write(2, f"{text(verb)}\n".encode())


def _handle(numbers: tuple[signal.Signals, ...], handler: object) -> None:
    for number in numbers:
        # What is ignored, as by nohup, stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _end(number: int, frame: object) -> None:
    """End as on Ctrl-C, which the terminal sends to what we have started as well."""
    for child in _children():
        try:
            os.kill(child, signal.SIGINT)
        except OSError:
            continue
    former = signal.getsignal(signal.SIGINT)
    if callable(former) and former is not signal.default_int_handler:
        # Of what runs on hosts, it knows how to end it.
        with contextlib.suppress(KeyboardInterrupt):
            former(number, frame)  # type: ignore[arg-type]
    raise Ended(128 + number)


def _children() -> list[int]:
    """Return the processes that we have started and that are in our group."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as stream:
                found += [int(pid) for pid in stream.read().split()]
        except OSError:
            continue
    return [pid for pid in found if _group(pid) == os.getpgrp()]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def verb_of(argv: list[str]) -> str:
    """Return the verb of a command line, as it stands there."""
    return argv[1] if len(argv) > 1 else ""


def exit_code(error: BaseException, verb: str = "") -> int:
    """Say that a program is interrupted, and return how it is to end."""
    say(verb or verb_of(sys.argv))
    return int(error.code) if isinstance(error, Ended) else 128 + signal.SIGINT  # type: ignore[arg-type]
