"""A command on a host whose input and output are streams: lines as they come, archives of any size."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cncp.fleet.command import HostError, Line
from cncp.fleet.ssh import Host, Remote

_GRACE = 10
"""Seconds beyond a time-out in which the host itself ends the command."""

_TIMED_OUT = 124  # timeout(1)

_INTERRUPTED = threading.Event()
_RUNNING: dict[subprocess.Popen[bytes], bool] = {}
"""Commands that run, and whether on another host."""

# A command whose ssh is killed goes on: without a terminal nothing tells it. Here the end of its
# input does, which we hold open, and timeout(1). With a file as input it reads to its end anyway.
# timeout leads a process group; told to end before it knows what it has begun, it leaves that behind.
_LIMITED = """
limit=$1 feed=$2; shift 2
if command -v timeout >/dev/null 2>&1; then set -- timeout -k 5 "$limit" "$@"; fi
[ "$feed" = no ] || exec "$@"
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ cat <&3; kill "$child"; kill -s TERM -- "-$child"; } >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


def words(host: Host, argv: Sequence[str], timeout: float, *, feed: bool) -> tuple[list[str], Path | None]:
    """Return the argument list that runs a command on a host, and the folder to run it in."""
    limited = ["sh", "-c", _LIMITED, "sh", f"{timeout:g}", "yes" if feed else "no", *argv]
    return (host.command(limited), None) if isinstance(host, Remote) else (limited, Path.home())


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """For the length of a ``with`` block have Ctrl-C end all commands, wherever they run."""

    def interrupt(*_: object) -> None:
        _INTERRUPTED.set()
        for process in list(_RUNNING):
            _end(process)
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        _INTERRUPTED.clear()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command: by the end of its input, which on another host the end of ssh brings."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    # On this machine a shell that is killed could no longer end what it has begun.
    if process.stdin is None or _RUNNING.get(process, True):
        process.kill()


@dataclass
class Running:
    """A command that runs: its streams, and in ``status`` how it ended once the ``with`` block is left."""

    process: subprocess.Popen[bytes]
    late: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)
    status: int = -1

    @property
    def output(self) -> IO[bytes]:
        """What the command writes."""
        assert self.process.stdout is not None  # noqa: S101  # by how it was started
        return self.process.stdout


@contextlib.contextmanager
def running(
    host: Host, argv: Sequence[str], timeout: float, *, source: IO[bytes] | None = None, err: Line | None = None
) -> Iterator[Running]:
    """Run a command on a host for the length of a ``with`` block, and wait for its end there.

    ``source`` is a file that it reads, ``err`` takes the lines of its standard error. Raises
    HostError when it does not end within ``timeout`` seconds, or the connection is lost.
    """
    line, folder = words(host, argv, timeout, feed=source is not None)
    name = host.spec.name
    if _INTERRUPTED.is_set():
        raise HostError(name, "interrupted", "run it again")
    with subprocess.Popen(
        line,
        stdin=source or subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        start_new_session=True,
    ) as process:
        it = Running(process)
        _RUNNING[process] = isinstance(host, Remote)

        def listen() -> None:
            for raw in process.stderr or ():
                text = raw.decode(errors="replace").rstrip("\r\n")
                it.said.append(text)
                if err:
                    err(text)

        def give_up() -> None:
            it.late.set()
            _end(process)

        ears = threading.Thread(target=listen, daemon=True)
        clock = threading.Timer(timeout + _GRACE, give_up)
        clock.daemon = True
        ears.start()
        clock.start()
        try:
            yield it
            # Whatever was not read is not wanted; a full pipe would hold the command up.
            it.output.close()
            it.status = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            _RUNNING.pop(process, None)
            clock.cancel()
            ears.join(2)
    if it.late.is_set() or it.status == _TIMED_OUT:
        raise HostError(name, f"no end after {timeout:g} s: {shlex.join(argv)[:80]}", "give it longer with --timeout")
    if it.status == 255 and not host.alive():
        raise HostError(name, "the connection was lost", "check the network, then run this again")


def lines(host: Host, argv: Sequence[str], timeout: float, out: Line, err: Line) -> int:
    """Run a command and hand on its lines as they come; return its exit status. Raises HostError."""
    with running(host, argv, timeout, err=err) as command:
        for raw in command.output:
            out(raw.decode(errors="replace").rstrip("\r\n"))
    return command.status
