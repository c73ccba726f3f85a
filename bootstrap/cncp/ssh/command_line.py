"""A command as the one line that sshd gives to the account's login shell, which may be any.

sh, bash, zsh, ksh, fish, csh and tcsh agree on little: not on quotes within quotes, on newlines in
them, on exclamation marks, or on what is no ASCII. They agree on words of harmless characters in single
quotes. So the line has sh read the command from such a word, in which printf(1) finds all other bytes
in octal. Before the command begins it says so on both streams: what login files have printed until then
is none of its output.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from cncp.ssh.host_errors import HostError

MARK = b"cncp-output-begins\n"
"""After this the output of a command begins, on either stream."""

SENT: dict[str, str] = {}
"""Programs that are sent as a word of a command, and their files on this machine."""

_SAFE = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\!%")
_MOST = 120_000
"""Bytes of a line. Linux takes 131,072 for one word of a command line (MAX_ARG_STRLEN, execve(2))."""


def line(host: str, argv: Sequence[str]) -> str:
    """Return a command's line for a host's login shell. Raises HostError for what is no command."""
    if any("\0" in word for word in argv):
        raise HostError(host, "a command cannot hold the character NUL", "see what it is made of")
    said = MARK.decode().strip()
    script = f"echo {said}; echo {said} >&2; exec {shlex.join(argv)}"
    made = f"""exec sh -c 'eval "$(printf "$0")"' '{_plain(script)}'"""
    if len(made) > _MOST:
        raise HostError(host, f"the command is too long: {len(made)} bytes as ssh carries it", "put it into a file")
    return made


def told(argv: Sequence[str]) -> tuple[str, str]:
    """Return a command as a person gives it to ssh, and what goes into it then: a program that is sent is a file."""
    sent = next((word for word in argv if word in SENT), None)
    words = " ".join('"$(cat)"' if word is sent else shlex.quote(word) for word in argv)
    return words, "" if sent is None else f" < {shlex.quote(SENT[sent])}"


def _plain(text: str) -> str:
    """Return text as a format of printf(1) that every shell reads alike in single quotes."""
    return "".join(chr(byte) if byte in _SAFE else f"\\{byte:03o}" for byte in os.fsencode(text))
