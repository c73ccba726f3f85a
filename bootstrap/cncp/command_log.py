"""What is written of each program that is started: in CNCP_HOME/cncp.log always, on standard error with --debug.

A command stands there as it can be pasted into bash. What goes into its standard input, its environment and
the words of a user's own command do not. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cncp import process
from cncp.process import Command, ending

NAME = "cncp.log"

SIZE = 1_000_000
"""Bytes after which a file becomes the one before, of which one is kept."""

_OURS = ("node.json", "parents")
"""Files of which there is one in every CNCP_HOME that we have made; any other folder is left alone."""

_LOGIN = re.compile(r"(?i)\b((?:https?|ftp)://)[^/@\s'\"]+@|\b([a-z][a-z0-9+.-]*://[^/@:\s'\"]+:)[^/@\s'\"]+@")
"""Who logs in by an address: of the web a name alone may be a token, elsewhere only a password is secret."""

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}


class CommandLog:
    """Writes a line a command; what cannot be written is in nobody's way."""

    def __init__(self, home: Path | None, verb: str, *, debug: bool) -> None:
        """``home`` is CNCP_HOME, None where that is not known; ``verb`` says who starts the commands."""
        self._home, self._verb, self._debug = home, verb, debug
        self._descriptor = -1

    def __call__(self, command: Command, status: int | None, seconds: float) -> None:
        """Write of a command that has ended; ``status`` is None where it has taken this process's place."""
        how = "takes the place of cncp" if status is None else f"{ending(status)} after {seconds:.2f} s"
        said = f"[{command.host or 'localhost'}] {how}: {pasted(command.words)}{command.source}\n"
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03d}"
        if self._home is not None:
            with contextlib.suppress(OSError):
                self._keep(self._home, f"{stamp} {self._verb} {os.getpid()} {said}".encode())
        if self._debug:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
                # At once: threads write beside one another.
                os.write(2, f"debug: {said}".encode())

    def _keep(self, home: Path, line: bytes) -> None:
        if self._descriptor < 0:
            if home.stat().st_uid != os.geteuid() or not any((home / name).exists() for name in _OURS):
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(home / NAME, flags, 0o600)
        os.write(self._descriptor, line)
        if os.fstat(self._descriptor).st_size > SIZE:
            former, self._descriptor = self._descriptor, -1
            _rotate(home / NAME, former)


def _rotate(path: Path, descriptor: int) -> None:
    """Close a file that is full, and have a new one begun, unless somebody else already has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            path.replace(path.with_name(f"{path.name}.1"))
    finally:
        os.close(descriptor)


def pasted(words: Sequence[str]) -> str:
    """Return a command line in one line, as bash reads it; who logs in by an address is left out."""
    return " ".join(_quoted(_LOGIN.sub(r"\1\2***@", word)) for word in words)


def _quoted(word: str) -> str:
    return shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_escaped, word))}'"


def _escaped(letter: str) -> str:
    """Return a character as bash has it in $'...': what does something to a terminal, or is no text, as its bytes."""
    if letter in _NAMED:
        return _NAMED[letter]
    # In octal, three digits and no more are read as one byte.
    return (
        letter if letter.isprintable() else "".join(f"\\{byte:03o}" for byte in letter.encode(errors="surrogateescape"))
    )


def begin(home: Path | None, verb: str, *, debug: bool) -> None:
    """Write of all commands from now on."""
    process.listener = CommandLog(home, verb, debug=debug)
