"""Whether a cluster has anything left to do, and whether its clients have got what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from cncp.errors import CncpError, plural
from cncp.ipp.connection_file import ConnectionFile
from cncp.ipp.hub import Hub

_PERIOD = 0.2  # s between looks; the hub has no way to tell by itself that it is idle
_LOOKS = 3  # in a row without anything to do: what is on its way to the hub is seen by the next one
_SAY_EVERY = 5.0  # s
_ANSWER = 5.0  # s

_SOCKETS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def unsent(ports: Collection[int], tables: Collection[Path] = _SOCKETS) -> int:
    """Return how many bytes clients connected to these ports of ours have not yet acknowledged.

    Results that a slow client has yet to fetch would be lost with the controller's processes: to
    the hub their tasks are completed. Columns as in proc_pid_net(5), tcp_diag of Linux.
    """
    waiting = 0
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, _, queues, *_ = line.split()
            if int(local.rpartition(":")[2], 16) in ports:
                waiting += int(queues.partition(":")[0], 16)
    return waiting


def wait_idle(
    connection: ConnectionFile,
    host: str | None,
    ports: Collection[int],
    patience: float,
    say: Callable[[str], None],
) -> None:
    """Wait until no task is left and all results are with their clients. Raises CncpError after ``patience`` s.

    ``ports`` are those that clients are connected to.
    """
    began = time.monotonic()
    said = began
    quiet = 0
    with Hub(connection, host) as hub:
        while quiet < _LOOKS:
            tasks = hub.left(_ANSWER)
            quiet = quiet + 1 if not tasks and not unsent(ports) else 0
            now = time.monotonic()
            if quiet == 0 and now - began > patience:
                pending = f"{plural(tasks, 'task')} not done" if tasks else "results are not yet with their clients"
                raise CncpError(
                    f"{pending} after {patience:g} s; nothing was changed",
                    "wait longer: --wait SECONDS; or lose them: cncp keys.revoke",
                )
            if now - said > _SAY_EVERY:
                said = now
                say(f"{plural(tasks, 'task')} to go")
            time.sleep(_PERIOD)
