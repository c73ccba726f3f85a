"""The hub is told at once that an engine has ended, however it ended.

    python -I -m cncp.remote death FILE UUID PID STARTED [HOST]

An engine that is killed says no goodbye, and its tasks would be waited for as long as the tolerance lasts,
which is there for networks. A shell beside the engine waits for its end, on a pipe that only the engine
holds the other end of; it needs a third of a megabyte, ipyparallel's nanny 28. Then it becomes this
program, which needs Python and ZeroMQ for a moment.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from pathlib import Path

from cncp import pidfile, remote
from cncp.files import read_record
from cncp.ipp.connection_file import ConnectionFile
from cncp.ipp.hub import Hub, NoAnswer
from cncp.process import Process, begin
from cncp.waiting import wait_until

_WAIT = """\
# A service manager that ends the engine ends all of its processes; this one is done soon after.
trap '' TERM HUP INT
read -r _
exec "$@"
"""

_PATIENCE = 3.0  # s for the hub to answer; a unit ends with the last of its processes

_LOOK = 0.5  # s between looks at an engine that has closed the pipe, and lives


def tell(file: Path, uuid: str, host: str | None) -> Process:
    """Have the hub of this connection file told when this process ends; return what waits for it.

    ``host`` is dialled instead of the location in the file.
    """
    there, here = os.pipe()
    # The other end is not inherited by programs, but by what a task forks, which may live longer.
    os.register_at_fork(after_in_child=lambda: os.close(here))
    pid = os.getpid()
    words = [str(file), uuid, str(pid), str(pidfile.started(pid)), *filter(None, [host])]
    argv = [sys.executable, "-I", *remote.command("death", *words)]
    try:
        # A session of its own: signals for the engine's, and what ends its processes, are not for it.
        return begin(["sh", "-c", _WAIT, "sh", *argv], stdin=there, cwd="/", apart=True)
    finally:
        os.close(there)


def _lives(pid: int, started: int) -> bool:
    """Tell whether a process is there and has not ended; its parent may not have taken notice yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return pidfile.started(pid) == started and state not in (b"Z", b"X")


def unregister(file: Path, uuid: str, host: str | None, patience: float = _PATIENCE) -> None:
    """Have the hub forget an engine, where it has not yet: it may have said goodbye itself."""
    document = read_record(file, ConnectionFile)
    if document is None:
        return
    deadline = time.monotonic() + patience
    with Hub(document, host) as hub, contextlib.suppress(NoAnswer):
        for number, known in hub.engines(patience).items():
            if known == uuid:
                hub.unregister(number, uuid, max(0.0, deadline - time.monotonic()))


def main() -> None:
    """Wait for the end of an engine, and tell the hub of it."""
    file, uuid, pid, started, *host = sys.argv[1:]
    wait_until(lambda: not _lives(int(pid), int(started)), math.inf, _LOOK)
    unregister(Path(file), uuid, host[0] if host else None)
