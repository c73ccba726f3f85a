"""Whether the queues of a controller know an engine yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zmq

Connect = Callable[..., None]


class Queues:
    """The connections of an engine to the controller's queues: of its tasks, its control and its output.

    A queue drops, without a word, what is sent to an engine whose connection is not made, and so does
    an engine what it prints. So an engine must not be registered before its connections are made,
    however long one of them takes.
    """

    def __init__(self) -> None:
        self._events: dict[Any, Any] = {}
        self._open = 0

    def watched(self, connect: Connect) -> Connect:
        """Return ``connect(socket, url, ...)`` that counts the connections to wait for."""

        def connecting(socket: Any, *arguments: Any, **named: Any) -> None:
            if socket not in self._events:
                self._events[socket] = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            self._open += 1
            connect(socket, *arguments, **named)

        return connecting

    def wait(self, patience: float) -> bool:
        """Wait up to ``patience`` seconds until all connections are made; return whether they are."""
        deadline = time.monotonic() + patience
        poller = zmq.Poller()
        for events in self._events.values():
            poller.register(events, zmq.POLLIN)
        while self._open > 0 and (ready := poller.poll(int(1000 * max(0, deadline - time.monotonic())))):
            for events, _ in ready:
                events.recv_multipart()
                self._open -= 1
        for socket in self._events:
            socket.disable_monitor()
        return self._open <= 0
