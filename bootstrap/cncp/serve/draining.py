"""Engines that are to end get no new task, and keep what they have: load-balanced tasks wait for others.

ipyparallel's task scheduler knows engines that are there and engines that are gone, whose tasks it fails 5 s later.
Here it is told, by way of the hub, whom to leave out, and it alone can say how many tasks each of them still has: what
it has sent on a moment before, the hub does not know yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import zmq
from ipyparallel.controller.hub import Hub
from ipyparallel.controller.task_scheduler import TaskScheduler
from ipyparallel.util import bind
from traitlets import Dict

from cncp.field_types import EngineUuid, Sized, Within
from cncp.records import Misfit, Record
from cncp.serve.registration import Message

FOLLOW, DRAIN, DRAINED = "drain_follow", "drain", "drained"
"""What the scheduler says to the hub once, is told by it, and answers."""

LONGEST = 3600.0
"""Seconds that an engine is left out at most, unless that is said again: whoever wanted it may be gone."""


@dataclass(frozen=True)
class Drain(Record):
    """Whom to leave out, and for how many s from now; 0 has them get tasks again."""

    uuids: Annotated[tuple[EngineUuid, ...], Sized(10_000)]
    seconds: Annotated[float, Within(0.0, LONGEST)]


class DrainingScheduler(TaskScheduler):  # type: ignore[misc]  # ipyparallel has no types
    """A task scheduler that leaves engines out. ``drained`` says until when, by their idents."""

    drained: Any = Dict()

    def start(self) -> None:
        """Have the hub know where to ask."""
        super().start()
        self.session.send(self.query_stream, FOLLOW, {})

    def dispatch_query_reply(self, frames: list[bytes]) -> None:
        """Take what the hub hands on; it answers other questions as well."""
        idents, parts = self.session.feed_identities(frames)
        if self.session.unpack(parts[1])["msg_type"] != DRAIN:
            super().dispatch_query_reply(frames)
            return
        message = self.session.deserialize(parts)
        try:
            tasks = self.drain(Drain.from_json(message["content"], "what is to be drained"))
            content: Message = {"status": "ok", "tasks": tasks}
        except Misfit as error:
            content = {"status": "error", "evalue": error.message}
        self.session.send(self.query_stream, DRAINED, content, parent=message["parent_header"], ident=idents)

    def drain(self, asked: Drain) -> dict[str, int]:
        """Leave engines out, or no more; return how many tasks each of them has that the scheduler gave it."""
        until = self.loop.time() + asked.seconds
        there = {uuid.encode(): uuid for uuid in asked.uuids}
        self.drained.update(dict.fromkeys(there.keys() & set(self.targets), until))
        self.loop.call_later(asked.seconds, self._look)
        return {uuid: len(self.pending.get(ident, ())) for ident, uuid in there.items()}

    def _look(self) -> None:
        """Give tasks to those whose time is over."""
        now = self.loop.time()
        over = [ident for ident, until in self.drained.items() if until <= now]
        for ident in over:
            del self.drained[ident]
        if over:
            self.update_graph(None)

    def available_engines(self) -> list[int]:
        """Leave them out."""
        return [index for index in super().available_engines() if self.targets[index] not in self.drained]

    def submit_task(self, job: Any, indices: Sequence[int] | None = None) -> None:
        """Send a task on, to none of them where any would do."""
        super().submit_task(job, self.available_engines() if indices is None else indices)

    def _register_engine(self, ident: bytes) -> None:
        """Note one that has come, once: the answer to the first question and a notification may both name it."""
        if ident not in self.targets:
            super()._register_engine(ident)

    def _unregister_engine(self, ident: bytes) -> None:
        """Forget one that has gone, after its last results: until then it gets no task."""
        super()._unregister_engine(ident)
        self.drained.pop(ident, None)


def relay(hub: Hub) -> None:
    """Have a hub hand on to the scheduler whom to leave out, and its answer to whoever asked."""
    scheduler: list[bytes] = []

    def follow(idents: list[bytes], _: Message) -> None:
        scheduler[:] = idents[:1]

    def drain(idents: list[bytes], message: Message) -> None:
        if not scheduler:
            raise RuntimeError("this task scheduler cannot leave engines out")
        hub.session.send(hub.query, DRAIN, message["content"], parent=message, ident=[*scheduler, idents[0]])

    def drained(idents: list[bytes], message: Message) -> None:
        hub.session.send(
            hub.query, "drain_reply", message["content"], parent=message["parent_header"], ident=idents[-1]
        )

    hub.query_handlers.update({FOLLOW: follow, "drain_request": drain, DRAINED: drained})


def bind_alive(socket: Any, *arguments: Any, **named: Any) -> Any:
    """Bind a socket whose connections end when the other machine has gone without a word.

    A client of a laptop that was shut would be there for ever; by its connection it is told whether there is any.
    """
    for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 300), (zmq.TCP_KEEPALIVE_INTVL, 60)):
        socket.setsockopt(option, value)
    return bind(socket, *arguments, **named)
