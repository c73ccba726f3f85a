"""A command of a host: run with a time-out, heard line by line, its failure told with the host's name."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cncp.errors import CncpError

Line = Callable[[str], None]
"""Takes a line of a command's progress."""


@dataclass(frozen=True)
class Result:
    """How a command on a host ended: its exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the command exited with 0."""
        return self.status == 0


class HostError(CncpError):
    """One host could not be reached, or failed at what it was to do. ``host`` is its name.

    ``said`` is what ssh said where that was the reason.
    """

    def __init__(self, host: str, message: str, hint: str, said: str = "") -> None:
        super().__init__(message, hint)
        self.host = host
        self.said = said


@dataclass(frozen=True)
class _Ears:
    """Reads a stream line by line, hands every line on, and keeps all of it."""

    stream: IO[bytes]
    hand_on: Line | None
    heard: list[bytes]
    after: bytes = b""
    """What comes up to the end of a line with this is left out."""

    def listen(self) -> None:
        waiting = bool(self.after)
        for raw in self.stream:
            if waiting:
                waiting = not raw.endswith(self.after)
                continue
            self.heard.append(raw)
            if self.hand_on:
                self.hand_on(raw.decode(errors="replace").rstrip())


def ran(
    host: str,
    argv: Sequence[str],
    *,
    timeout: float,
    data: bytes,
    cwd: Path,
    line: Line | None,
    out: Line | None,
    after: str,
) -> Result:
    """Run a process on this machine with a time-out; hand on what it writes line by line as it comes.

    ``line`` takes its stderr, ``out`` its stdout, of which all up to the line ``after``, if any, is left out.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, start_new_session=True) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018  # by the arguments above
        mark = f"{after}\n".encode() if after else b""
        ears = [_Ears(process.stdout, out, [], mark), _Ears(process.stderr, line, [])]
        threads = [threading.Thread(target=one.listen, daemon=True) for one in ears]
        for thread in threads:
            thread.start()
        late = threading.Timer(timeout, process.kill)
        late.start()
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError), process.stdin as into:
            into.write(data)
        for thread in threads:
            thread.join()
        status = process.wait()
        late.cancel()
    stdout, stderr = (b"".join(one.heard) for one in ears)
    said = stderr.decode(errors="replace").strip()
    if status < 0 and time.monotonic() - began >= timeout:
        last = f"; the last it said: {said.splitlines()[-1]}" if said else ""
        what = f"no end after {timeout:g} s: {shlex.join(argv[-1:])[:80]}{last}"
        raise HostError(host, what, "look at that host by hand")
    return Result(status, stdout, said)


def checked(host: str, argv: Sequence[str], result: Result) -> Result:
    """Return a result, if it is that of success. Raises HostError with the last the command said."""
    if not result.ok:
        said = [one for one in result.stderr.splitlines() if one.strip()]
        what = f"{shlex.join(argv)[:80]} exited with {result.status}"
        raise HostError(host, what + (f": {said[-1]}" if said else ""), f"run it by hand: ssh {host}")
    return result
