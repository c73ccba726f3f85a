"""Closing a socket of a process that lives on, as no signal can."""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

_PIDFD_GETFD = 438  # pidfd_getfd(2), the same number on all architectures
_LISTEN = "0A"  # TCP_LISTEN in /proc/PID/net/tcp


def stop_listening(pid: int, port: int) -> bool:
    """Have a process, by its pid out here, no longer listen on a port without knowing; tell whether it did before."""
    table = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in table if row[3] == _LISTEN and int(row[1].split(":")[1], 16) == port}
    handles = [path for path in Path(f"/proc/{pid}/fd").iterdir() if _target(path) in inodes]
    process = os.pidfd_open(pid)
    try:
        for handle in handles:
            taken = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, int(handle.name), 0)
            if taken < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            with socket.socket(fileno=taken) as ours:
                ours.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(process)
    return bool(handles)


def _target(handle: Path) -> str:
    """Return what a descriptor is of, nothing where it has been closed meanwhile."""
    try:
        return os.readlink(handle)
    except FileNotFoundError:
        return ""
