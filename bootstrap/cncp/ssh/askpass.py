"""One password for many logins: asked once, kept in this process, handed to ssh when ssh asks.

ssh takes passwords from a terminal or from a program (SSH_ASKPASS, ssh(1)). The program here is a
few lines that fetch the answer from a socket which only this user can open and which is gone with
this process. The password is in no argument list, no environment and no file.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_CLIENT = (
    "import os, socket, sys; "
    "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
    "s.sendall(f'{os.getppid()} {sys.argv[2]}'.encode()); s.shutdown(socket.SHUT_WR); "
    "answer = s.makefile('rb').read(); sys.stdout.buffer.write(answer); sys.exit(not answer)"
)

_PASSWORD = re.compile(
    r"(?:\([^()\s]+\) )?(?:[^\s']+'s )?(?:password|passwort|mot de passe|contrase.a)\b.*:\s*", re.IGNORECASE
)
"""What asks for a password: of sshd itself, or of PAM. Never a passphrase, a code, or yes or no."""


def asks_for_password(prompt: str) -> bool:
    """Tell whether a prompt of ssh asks for the account's password."""
    return _PASSWORD.fullmatch(prompt) is not None


class Desk:
    """Answers ssh's questions for a password; a context manager. ``program`` is what ssh is to call."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()
        self._answered: set[str] = set()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="cncp-"))
        address = self._folder / "s"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(address))
        address.chmod(0o600)
        self._socket.listen(64)
        program = self._folder / "askpass"
        words = shlex.join([sys.executable, "-I", "-S", "-c", _CLIENT, str(address)])
        program.write_text(f'#!/bin/sh\nexec {words} "$1"\n')
        program.chmod(0o700)
        self.program = str(program)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        while True:
            try:
                asking, _ = self._socket.accept()
            except OSError:
                return
            with asking, contextlib.suppress(OSError):
                asking.settimeout(5)
                asking.sendall(self._answer(asking))

    def _answer(self, asking: socket.socket) -> bytes:
        said = b""
        while part := asking.recv(4096):
            said += part
        caller, _, prompt = said.decode(errors="replace").partition(" ")
        # A second question of the same ssh means that the first answer was wrong: another failure
        # would only bring the account nearer to being locked.
        if caller in self._answered or not asks_for_password(prompt):
            return b""
        self._answered.add(caller)
        return self._password + b"\n"
