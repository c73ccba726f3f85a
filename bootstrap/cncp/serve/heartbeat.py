"""What the controller makes of engines' heartbeats: an engine is registered once the hub was told of its heart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zmq
from ipyparallel.controller.heartmonitor import HeartMonitor
from ipyparallel.controller.hub import Hub
from zmq.eventloop.zmqstream import ZMQStream

_SOON = 0.05
"""Seconds from an engine's handshake to its first ping: its subscription follows the handshake at once."""

_EACH_HEART = 0.001
"""Seconds that are left between such pings for every heart that answers them."""


class PromptMonitor(HeartMonitor):  # type: ignore[misc]  # ipyparallel has no types
    """A heart monitor that has a new engine wait for neither of two beats.

    Left alone it pings hearts once a period, and looks at who answered when it pings again: up to two
    periods in which the engine could compute already. Here a heart that has just connected is pinged
    soon, outside of the beats that are counted, and its answer is told to the hub when it comes.
    """

    def start(self) -> None:
        """Begin to beat, and to look out for hearts that connect."""
        super().start()
        self._greeting = False
        arrivals = self.ping_stream.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._arrivals = ZMQStream(arrivals, self.loop)
        self._arrivals.on_recv(self._arrived)

    def _arrived(self, _: list[bytes]) -> None:
        if not self._greeting:
            self._greeting = True
            # All hearts answer a ping: of a thousand that come one by one, few may be greeted alone.
            self.loop.call_later(max(_SOON, _EACH_HEART * len(self.hearts)), self._greet)

    def _greet(self) -> None:
        self._greeting = False
        if time.monotonic() - self.tic > self.period / 1000 - _SOON:
            # The beat is as soon, and answers that crossed it would be taken for late ones.
            return
        self.ping_stream.send(str(self.lifetime).encode("ascii"))
        self.ping_stream.flush()

    def handle_pong(self, message: list[Any]) -> None:
        """Tell the hub of a new heart at once."""
        super().handle_pong(message)
        heart = message[0]
        if heart in self.responses and heart not in self.hearts:
            self.handle_new_hearts({heart})


def expect_hearts(hub: Hub) -> Callable[[], None]:
    """Watch which of the engines that were restored show signs of life; return what gives up the others.

    The heart monitor misses only hearts that have beaten before: an engine that went while the
    controller was away would stay registered for good.
    """
    silent = {engine.ident for engine in hub.engines.values()}
    handle = hub.handle_new_heart

    def note(heart: bytes) -> None:
        silent.discard(heart)
        handle(heart)

    def give_up() -> None:
        for heart in silent & set(hub.hearts):
            hub.log.warning("restored engine %s has shown no sign of life", heart.decode())
            hub.handle_stopped_heart(heart)

    hub.handle_new_heart = note
    return give_up
