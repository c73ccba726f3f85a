"""Whether the queues from which an engine takes its tasks know the engine yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zmq

Connect = Callable[..., None]


class Queues:
    """The connections of an engine's shell socket, which is the first that ipyparallel connects.

    A scheduler drops, without a word, what is sent to an engine whose connection is not made. So an
    engine must not be registered before its connections are, however long one of them takes.
    """

    def __init__(self) -> None:
        self._shell: Any = None
        self._events: Any = None
        self._open = 0

    def watched(self, connect: Connect) -> Connect:
        """Return ``connect(socket, url, ...)`` that counts the connections to wait for."""

        def connecting(socket: Any, *arguments: Any, **named: Any) -> None:
            if self._shell is None:
                self._shell = socket
                self._events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            if socket is self._shell:
                self._open += 1
            connect(socket, *arguments, **named)

        return connecting

    def wait(self, patience: float) -> bool:
        """Wait up to ``patience`` seconds until all connections are made; return whether they are."""
        deadline = time.monotonic() + patience
        while self._open and self._events.poll(max(0, deadline - time.monotonic()) * 1000):
            self._events.recv_multipart()
            self._open -= 1
        if self._shell is not None:
            self._shell.disable_monitor()
        return not self._open
