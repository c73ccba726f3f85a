"""A command of a host: run with a time-out, heard line by line, its failure told with the host's name."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cncp.process import PIPE, Command, Completed, Process, begin
from cncp.ssh.host_errors import HostError

Line = Callable[[str], None]
"""Takes a line of a command's progress."""

_NOISE = 64 * 2**10  # bytes of what a login prints that are kept, should no command follow


@dataclass(frozen=True)
class Way:
    """A command on a host as a process of this machine.

    ``words`` are its argument list, ``mark`` is the line that its output comes after on either stream,
    b"" where all of it is its own. ``told`` is what is told of it.
    """

    words: Sequence[str]
    mark: bytes = b""
    told: Command | None = None


@dataclass(eq=False)
class Running:
    """A command that runs: its streams, and in ``status`` how it ended once the ``with`` block is left.

    ``begun`` tells whether it came to run at all, ``noise`` is what came before it on standard output,
    ``said`` are the lines of its standard error, ``late`` tells that it was given up.
    """

    process: Process
    way: Way
    begun: bool = False
    noise: bytes = b""
    said: list[str] = field(default_factory=list)
    late: threading.Event = field(default_factory=threading.Event)
    status: int = -1

    @property
    def output(self) -> IO[bytes]:
        """What the command writes; what its login wrote before is left out."""
        assert self.process.stdout is not None  # noqa: S101  # by how it was started
        return self.process.stdout

    @property
    def last(self) -> str:
        """The last line it said, "" where it said none."""
        return next((line for line in reversed(self.said) if line.strip()), "")

    def end(self) -> None:
        """End it: by the end of its input where that is held open, which on another host the end of ssh brings."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        # On this machine a shell that is killed could no longer end what it has begun.
        if self.process.stdin is None or self.way.mark:
            self.process.kill()


_RUNNING: set[Running] = set()


LOGINS: set[Process] = set()
"""Processes that log in."""

_STOPPED = threading.Event()


@contextlib.contextmanager
def stopped() -> Iterator[None]:
    """End all commands and logins that run, wherever they do, and let none begin for the length of a block."""
    _STOPPED.set()
    try:
        for running in list(_RUNNING):
            running.end()
        for login in list(LOGINS):
            login.kill()
        yield
    finally:
        _STOPPED.clear()


def refuse_when_stopped(host: str) -> None:
    """Raise HostError where nothing is to begin any more."""
    if _STOPPED.is_set():
        raise HostError(host, "interrupted", "run it again")


@contextlib.contextmanager
def started(
    way: Way,
    seconds: float,
    *,
    stdin: bytes | None = None,
    source: IO[bytes] | None = None,
    err: Line | None = None,
) -> Iterator[Running]:
    """Run a process for the length of a ``with`` block, and wait for its end there; end it after ``seconds``.

    It reads ``data`` or the file ``source``; without either its input is held open. ``err`` takes the
    lines of its standard error as they come.
    """
    into = PIPE if source is None else source
    # On this machine as well it is the user's own command, for which all of the environment counts.
    with begin(
        way.words, stdin=into, stdout=PIPE, stderr=PIPE, env=os.environ, cwd=Path.home(), apart=True, told=way.told
    ) as process:
        running = Running(process, way)
        _RUNNING.add(running)
        if _STOPPED.is_set():
            running.end()

        def give_up() -> None:
            running.late.set()
            process.kill() if stdin is not None else running.end()

        threads = [threading.Thread(target=_listen, args=(running, err), daemon=True)]
        if stdin is not None:
            threads.append(threading.Thread(target=_write, args=(process.stdin, stdin), daemon=True))
        clock = threading.Timer(seconds, give_up)
        clock.daemon = True
        for thread in (*threads, clock):
            thread.start()
        try:
            running.begun, running.noise = _skip(running.output, way.mark)
            yield running
            # Whatever was not read is not wanted; a full pipe would hold the command up.
            running.output.close()
            running.status = process.wait()
        except BaseException:
            process.kill() if stdin is not None else running.end()
            raise
        finally:
            _RUNNING.discard(running)
            clock.cancel()
            for thread in threads:
                thread.join(2)


def _skip(stream: IO[bytes], mark: bytes) -> tuple[bool, bytes]:
    """Read up to the line that is ``mark``; return whether it came, and what came before."""
    noise = bytearray()
    while mark and not noise.endswith(mark):
        raw = stream.readline(_NOISE)
        if not raw:
            return False, bytes(noise)
        noise = (noise + raw)[-_NOISE:]
    return True, bytes(noise)


def _listen(running: Running, hand_on: Line | None) -> None:
    """Keep the lines of standard error and hand them on; should no mark come, those before it count as well."""
    stream = running.process.stderr
    assert stream is not None  # noqa: S101  # by how it was started
    begun, noise = _skip(stream, running.way.mark)
    if not begun:
        running.said += _text(noise).splitlines()
    for raw in stream:
        running.said.append(_text(raw).rstrip("\r\n"))
        if hand_on:
            hand_on(running.said[-1])


def _write(stream: IO[bytes] | None, content: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        assert stream is not None  # noqa: S101  # by how it was started
        with stream:
            stream.write(content)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def ran(way: Way, timeout: float, *, stdin: bytes, line: Line | None, out: Line | None) -> tuple[Running, Completed]:
    """Run a process to its end; hand on what it writes line by line as it comes.

    ``line`` takes its stderr, ``out`` its stdout.
    """
    heard: list[bytes] = []
    with started(way, timeout, stdin=stdin, err=line) as running:
        for raw in running.output:
            heard.append(raw)
            if out:
                out(_text(raw).rstrip())
    return running, Completed(tuple(way.words), running.status, b"".join(heard), "\n".join(running.said).strip())


def late(host: str, argv: Sequence[str], seconds: float, running: Running, hint: str) -> HostError:
    """Return what to tell of a command that did not end in time."""
    last = f"; the last it said: {running.last}" if running.last else ""
    return HostError(host, f"no end after {seconds:g} s: {shlex.join(argv)[:80]}{last}", hint)


def never_begun(host: str, running: Running) -> HostError:
    """Return what to tell of a login that runs no command: in its own words, on whichever stream they came."""
    words = [*_text(running.noise).splitlines(), *running.said]
    last = next((line.strip() for line in reversed(words) if line.strip()), f"it exited with {running.status}")
    hint = f"see its login shell, and ForceCommand in its sshd_config(5); by hand: ssh {host}"
    return HostError(host, f"it runs no command for us: {last}", hint, "\n".join(words))


def checked(host: str, argv: Sequence[str], result: Completed) -> Completed:
    """Return a result, if it is that of success. Raises HostError with the last the command said."""
    if not result.ok:
        said = [line for line in result.stderr.splitlines() if line.strip()]
        message = f"{shlex.join(argv)[:80]} exited with {result.status}"
        raise HostError(host, message + (f": {said[-1]}" if said else ""), f"run it by hand: ssh {host}")
    return result
