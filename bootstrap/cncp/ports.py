"""TCP ports of this machine: which are free, and who listens where."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Collection, Iterable, Sequence

import psutil

from cncp.errors import CncpError

_FIRST, _BEYOND = 20000, 32768


def is_free(port: int) -> bool:
    """Tell whether nothing on this machine listens on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def within(setting: str) -> Sequence[int]:
    """Return the ports of a setting, LOW-HIGH."""
    low, _, high = setting.partition("-")
    return range(int(low), int(high) + 1)


def free_block(count: int, avoid: Collection[int] = ()) -> tuple[int, ...]:
    """Return as many free ports in a row. Raises CncpError where there are none.

    They end below 32768, where Linux begins to hand out ports to outgoing connections
    (ip_local_port_range): a program that calls out while we are down must not be given one of ours.
    They begin at a random place, so that clusters of several users of a machine stay apart even
    when one of them is down.
    """
    starts = list(range(_FIRST, _BEYOND - count, count))
    secrets.SystemRandom().shuffle(starts)
    for start in starts:
        block = range(start, start + count)
        if not set(block) & set(avoid) and all(map(is_free, block)):
            return tuple(block)
    wanted = "port" if count == 1 else f"block of {count} ports"
    raise CncpError(f"no free {wanted} between {_FIRST} and {_BEYOND - 1}", "`ss -ltn` shows who listens")


def connected(pid: int) -> bool:
    """Tell whether a process, or one that it has begun, has a TCP connection."""
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return False
    for member in family:
        with contextlib.suppress(psutil.Error):
            if any(seen.status == psutil.CONN_ESTABLISHED for seen in member.net_connections("tcp")):
                return True
    return False


def connections(port: int, own: int = 0) -> int:
    """Return how many TCP connections there are to a port of this machine, but for those of the process ``own``."""
    mine: set[object] = set()
    if own:
        with contextlib.suppress(psutil.Error):
            mine.update(seen.laddr for seen in psutil.Process(own).net_connections("tcp"))
    there = (seen for seen in psutil.net_connections("tcp") if seen.status == psutil.CONN_ESTABLISHED)
    return sum(seen.laddr[1:] == (port,) and seen.raddr not in mine for seen in there)


def listening(pids: Iterable[int]) -> set[int]:
    """Return the ports on which processes listen; those that are gone have none."""
    found: set[int] = set()
    for pid in pids:
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            continue
        found.update(
            connection.laddr.port
            for connection in connections
            if connection.status == psutil.CONN_LISTEN and connection.laddr
        )
    return found
