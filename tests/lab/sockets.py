"""Closing a socket of a process that lives on, as no signal can."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket

import psutil

_PIDFD_GETFD = 438  # pidfd_getfd(2), the same number on all architectures


def stop_listening(pid: int, port: int) -> None:
    """Have a process, by its pid out here, no longer listen on a port, without its knowing."""
    listening = [
        one.fd
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    ]
    handle = os.pidfd_open(pid)
    with contextlib.closing(os.fdopen(handle)):
        libc = ctypes.CDLL(None, use_errno=True)
        for descriptor in listening:
            taken = libc.syscall(_PIDFD_GETFD, handle, descriptor, 0)
            if taken < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            with socket.socket(fileno=taken) as ours:
                ours.shutdown(socket.SHUT_RDWR)
    if not listening:
        raise AssertionError(f"process {pid} does not listen on {port}")
