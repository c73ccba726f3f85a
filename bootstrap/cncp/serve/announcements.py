"""What subscribers are told of engines: none of them misses what happens while it connects.

A client asks the hub once for all engines there are, and subscribes to changes once it has the answer. What changes
before its subscription has arrived, ipyparallel tells it never: it would wait for an engine that is there, or give
tasks to one that is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq
from ipyparallel.controller.hub import Hub
from jupyter_client.session import DELIM
from zmq.eventloop.zmqstream import ZMQStream

from cncp.ipp.hub import SUBSCRIBES
from cncp.serve.registration import Message

WITHIN = 30.0
"""Seconds that a client may take from the hub's answer to its subscription, through tunnels and over slow lines."""

_ALL = DELIM
"""How what all are told begins: without an address before it (``jupyter_client.session.Session.serialize``)."""

_ALONE = b"to the new subscriber"
"""How what a new subscriber is told alone begins: an address, which it passes over."""


@dataclass(frozen=True)
class _Answer:
    """What a client was told, and when: uuids of engines by their ids."""

    when: float
    engines: dict[int, str]


class Announcements:
    """The hub's side of notifications: each new subscriber, and it alone, is told what has changed since the answer.

    ``stream`` is of an XPUB socket, which says who subscribes, and takes the place of the hub's PUB.
    """

    def __init__(self, stream: ZMQStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._answers: list[_Answer] = []
        self._subscribed = 0
        stream.socket.SNDHWM = 0
        # Who subscribes, always to everything, gets what this says instead (zmq_setsockopt(3), ZMQ_XPUB_MANUAL).
        stream.socket.setsockopt(zmq.XPUB_MANUAL, 1)

    def take_over(self, hub: Hub) -> None:
        """Have a hub announce by the stream, and note what it answers."""
        answer = hub.query_handlers["connection_request"]

        def answer_and_note(idents: list[bytes], message: Message) -> None:
            answer(idents, message)
            if message["content"].get(SUBSCRIBES, True):
                self._answers = [*self._recent(), _Answer(self._clock(), _engines(hub))]

        hub.query_handlers["connection_request"] = answer_and_note
        hub.notifier = self._stream
        self._stream.on_recv(lambda frames: self._take(hub, frames[0]))

    def _take(self, hub: Hub, event: bytes) -> None:
        """Give a new subscriber what it asked for, beginning with what it missed."""
        if event.startswith(b"\x01"):
            socket = self._stream.socket
            socket.setsockopt(zmq.SUBSCRIBE, _ALONE)
            self._tell(hub, self._outstanding())
            socket.setsockopt(zmq.UNSUBSCRIBE, _ALONE)
            socket.setsockopt(zmq.SUBSCRIBE, _ALL)

    def _recent(self) -> list[_Answer]:
        return [answer for answer in self._answers if self._clock() - answer.when < WITHIN]

    def _outstanding(self) -> list[_Answer]:
        """Return the answers of which one is the new subscriber's: those to clients that had not subscribed.

        Which one it is, is not said. They are kept until all have subscribed, or have had the time to.
        """
        answers = self._recent()
        self._subscribed += 1
        all_have = self._subscribed >= len(answers)
        self._answers, self._subscribed = ([], 0) if all_have else (answers, self._subscribed)
        return answers

    def _tell(self, hub: Hub, answers: list[_Answer]) -> None:
        """Say which engines are not what one of some answers said."""
        now = _engines(hub)
        changed = {
            number: now.get(number, answer.engines.get(number))
            for answer in answers
            for number in answer.engines.keys() | now.keys()
            if answer.engines.get(number) != now.get(number)
        }
        for number, uuid in sorted(changed.items()):
            kind = "registration_notification" if number in now else "unregistration_notification"
            hub.session.send(self._stream.socket, kind, content={"id": number, "uuid": uuid}, ident=_ALONE)


def _engines(hub: Hub) -> dict[int, str]:
    return {number: engine.uuid for number, engine in hub.engines.items()}
