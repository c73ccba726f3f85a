"""A command on a host whose input and output are streams: lines as they come, archives of any size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import IO

from cncp.process import users
from cncp.ssh.command import Line, Running, late, refuse_when_stopped, started
from cncp.ssh.connection import Host

_GRACE = 10
"""Seconds beyond a time-out in which the host itself ends the command."""

_TIMED_OUT = 124  # timeout(1)


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


def limited(argv: Sequence[str], timeout: float, *, feed: bool) -> list[str]:
    """Return the command that runs another for a while, and ends it when its input ends; ``feed`` lets it read."""
    return ["sh", "-c", _LIMITED, "sh", f"{timeout:g}", "yes" if feed else "no", *argv]


@contextlib.contextmanager
def running(
    host: Host,
    argv: Sequence[str],
    timeout: float,
    *,
    source: IO[bytes] | None = None,
    err: Line | None = None,
    told: Sequence[str] | None = None,
) -> Iterator[Running]:
    """Run a command on a host for the length of a ``with`` block, and wait for its end there.

    ``source`` is a file that it reads, ``err`` takes the lines of its standard error, ``told`` are
    words that are told of it. Raises HostError when it does not end within ``timeout`` seconds, or the
    connection is lost.
    """
    name = host.spec.name
    refuse_when_stopped(name)
    way = host.way(limited(argv, timeout, feed=source is not None), told=told)
    with started(way, timeout + _GRACE, source=source, err=err) as process:
        yield process
    if process.late.is_set() or process.status == _TIMED_OUT:
        raise late(name, argv, timeout, process, "give it longer with --timeout")
    host.insist(process)


def lines(host: Host, argv: Sequence[str], timeout: float, out: Line, err: Line) -> int:
    """Run a user's own command and hand on its lines as they come; return its exit status. Raises HostError."""
    with running(host, argv, timeout, err=err, told=users(argv)) as command:
        for raw in command.output:
            out(raw.decode(errors="replace").rstrip("\r\n"))
    return command.status
