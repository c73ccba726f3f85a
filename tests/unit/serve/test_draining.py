"""Engines that are left out: they keep the tasks that they have, others get the new ones, and none is lost."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from jupyter_client.session import Session
from traitlets import Any as Anything
from traitlets.config import Config

from cncp.records import Misfit
from cncp.serve.draining import DRAINED, FOLLOW, LONGEST, Drain, DrainingScheduler, bind_alive, relay

SESSION = Session(key=b"secret")


class Loop:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._later: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Any, *arguments: object) -> None:
        self._later.append((self.now + seconds, lambda: call(*arguments)))

    def add_timeout(self, when: float, call: Any) -> None:
        self._later.append((when, call))

    def go(self, seconds: float) -> None:
        self.now += seconds
        due = [call for when, call in self._later if when <= self.now]
        self._later = [(when, call) for when, call in self._later if when > self.now]
        for call in due:
            call()


class Stream:
    """Takes what is sent; ``waiting`` is called when it is flushed, as if something had come."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.begun: list[bytes] = []
        self.waiting: Any = None

    def send(self, part: bytes, **_: object) -> None:
        self.begun.append(part)

    def send_multipart(self, parts: list[Any], **_: object) -> None:
        self.sent.append([*self.begun, *(getattr(part, "bytes", part) for part in parts)])
        self.begun = []

    def flush(self) -> None:
        if self.waiting:
            call, self.waiting = self.waiting, None
            call()

    def on_recv(self, *_: object, **__: object) -> None:
        pass


class Scheduler(DrainingScheduler):
    """One without sockets."""

    loop = Anything()
    client_stream = Anything()
    engine_stream = Anything()
    notifier_stream = Anything()
    mon_stream = Anything()
    query_stream = Anything()

    def __init__(self, **traits: Any) -> None:
        names = ("client_stream", "engine_stream", "notifier_stream", "mon_stream", "query_stream")
        super().__init__(loop=Loop(), session=SESSION, **{name: Stream() for name in names}, **traits)
        self.running: dict[str, tuple[bytes, Any]] = {}

    def join(self, *idents: bytes) -> None:
        for ident in idents:
            self._register_engine(ident)

    def submit(self, **metadata: object) -> None:
        """Have a client submit a task."""
        message = SESSION.msg("apply_request", {}, metadata=metadata)
        frames = SESSION.serialize(message, ident=[b"client"])
        self.dispatch_submission([zmq.Frame(frame) for frame in frames])
        self.note()

    def note(self) -> None:
        """Take down what has gone to engines since."""
        for parts in self.engine_stream.sent:
            idents, rest = SESSION.feed_identities(list(parts))
            header = SESSION.unpack(rest[1])
            self.running[header["msg_id"]] = (idents[0], header)
        self.engine_stream.sent = []

    def finish(self, ident: bytes) -> None:
        """Have an engine end one of its tasks."""
        name = next(name for name, (where, _) in self.running.items() if where == ident)
        _, header = self.running.pop(name)
        reply = SESSION.msg("apply_reply", {"status": "ok"}, parent=header, metadata={"status": "ok"})
        frames = SESSION.serialize(reply, ident=[ident, b"client"])
        self.dispatch_result([zmq.Frame(frame) for frame in frames])
        self.note()

    def at(self, ident: bytes) -> int:
        """Return how many tasks an engine has."""
        return sum(where == ident for where, _ in self.running.values())

    @property
    def failed_tasks(self) -> int:
        return len(self.all_failed)


def ask(seconds: float, *uuids: str) -> Drain:
    return Drain(uuids, seconds)


def test_an_engine_that_is_named_twice_is_there_once() -> None:
    """The answer to the scheduler's first question and a notification may both name it; its tasks stay its own."""
    scheduler = Scheduler()
    scheduler.join(b"a", b"b")
    scheduler.submit()
    scheduler.join(b"a", b"b")
    assert sorted(scheduler.targets) == [b"a", b"b"]
    assert sum(scheduler.at(ident) for ident in (b"a", b"b")) == sum(map(len, scheduler.pending.values())) == 1


@pytest.mark.parametrize(("hwm", "scheme"), [(1, "leastload"), (0, "leastload"), (0, "lru"), (2, "twobin")])
def test_tasks_go_to_the_others(hwm: int, scheme: str) -> None:
    """While one is drained and then goes, each of a hundred tasks ends where it was begun, and none fails."""
    scheduler = Scheduler(config=Config(TaskScheduler={"hwm": hwm, "scheme_name": scheme}))
    scheduler.join(b"a", b"b")
    for _ in range(4):
        scheduler.submit()
    had = scheduler.at(b"a")
    assert had
    assert scheduler.drain(ask(60.0, "a", "stranger")) == {"a": had, "stranger": 0}
    for _ in range(96):
        scheduler.submit()
        scheduler.finish(b"b")
    assert scheduler.at(b"a") == had
    for left in reversed(range(had)):
        scheduler.finish(b"a")
        assert scheduler.drain(ask(60.0, "a")) == {"a": left}
    scheduler._unregister_engine(b"a")
    assert scheduler.drained == {}
    while scheduler.at(b"b"):
        scheduler.finish(b"b")
    scheduler.loop.go(60)
    assert (len(scheduler.all_completed), scheduler.failed_tasks) == (100, 0)


def test_what_waits_for_nobody_else_waits() -> None:
    """With all engines drained tasks stay in the queue, and begin when one is there for them again."""
    scheduler = Scheduler()
    scheduler.join(b"a")
    scheduler.drain(ask(60.0, "a"))
    scheduler.submit()
    scheduler.submit(targets=["a"])
    assert scheduler.running == {}
    scheduler.loop.go(59)
    assert scheduler.running == {}
    scheduler.drain(ask(60.0, "a"))
    scheduler.loop.go(2)
    scheduler.note()
    # It was said again since.
    assert scheduler.running == {}
    scheduler.loop.go(60)
    scheduler.note()
    assert scheduler.at(b"a") == 1
    assert scheduler.failed_tasks == 0


def test_not_drained_after_all() -> None:
    """Whoever thinks better of it has it get tasks at once."""
    scheduler = Scheduler()
    scheduler.join(b"a")
    scheduler.drain(ask(600.0, "a"))
    scheduler.submit()
    scheduler.drain(ask(0.0, "a"))
    scheduler.loop.go(0)
    scheduler.note()
    assert scheduler.at(b"a") == 1


def test_one_that_dies_as_it_is_drained() -> None:
    """What it had is failed as ever, for its client to see; a last result that comes as it goes gets it no new task."""
    scheduler = Scheduler()
    scheduler.join(b"a")
    scheduler.submit()
    scheduler.submit()
    scheduler.drain(ask(60.0, "a"))
    scheduler.engine_stream.waiting = lambda: scheduler.finish(b"a")
    scheduler._unregister_engine(b"a")
    scheduler.loop.go(10)
    assert (len(scheduler.all_completed), scheduler.failed_tasks, scheduler.at(b"a")) == (1, 0, 0)
    scheduler.join(b"b")
    scheduler.note()
    scheduler.drain(ask(60.0, "b"))
    scheduler._unregister_engine(b"b")
    scheduler.loop.go(10)
    assert scheduler.failed_tasks == 1


def test_by_way_of_the_hub() -> None:
    """The hub hands the question on to the scheduler, and its answer to whoever asked, however that looks."""
    scheduler, hub = Scheduler(), SimpleNamespace(session=SESSION, query=Stream(), query_handlers={})
    relay(hub)
    scheduler.join(b"a")

    def handed(stream: Stream) -> tuple[list[bytes], Any]:
        idents, parts = SESSION.feed_identities(stream.sent.pop())
        return idents, SESSION.deserialize(parts)

    asked = SESSION.msg("drain_request", {"uuids": ["a"], "seconds": 30})
    with pytest.raises(RuntimeError, match="cannot leave engines out"):
        hub.query_handlers["drain_request"]([b"me"], asked)
    scheduler.start()
    _, message = handed(scheduler.query_stream)
    assert message["msg_type"] == FOLLOW
    hub.query_handlers[FOLLOW]([b"scheduler"], message)
    for content, answer in (
        ({"uuids": ["a"], "seconds": 30}, {"status": "ok", "tasks": {"a": 0}}),
        ({"uuids": "a"}, None),
        ({"uuids": ["a"], "seconds": LONGEST + 1}, None),
    ):
        asked = SESSION.msg("drain_request", content)
        hub.query_handlers["drain_request"]([b"me"], asked)
        to, *parts = hub.query.sent.pop()
        assert to == b"scheduler"
        scheduler.dispatch_query_reply(parts)
        idents, message = handed(scheduler.query_stream)
        assert message["msg_type"] == DRAINED
        hub.query_handlers[DRAINED]([b"scheduler", *idents], message)
        idents, message = handed(hub.query)
        assert idents == [b"me"]
        assert message["parent_header"]["msg_id"] == asked["header"]["msg_id"]
        assert message["content"] == answer if answer else message["content"]["status"] == "error"
    assert scheduler.available_engines() == []
    # Its own first question is answered as before.
    reply = SESSION.msg("connection_reply", {"engines": {"1": "b"}})
    scheduler.dispatch_query_reply(SESSION.serialize(reply))
    assert scheduler.targets == [b"b", b"a"]


@pytest.mark.parametrize("content", [{}, {"uuids": ["a"], "seconds": -1}, {"uuids": ["a b"], "seconds": 1}, [], None])
def test_what_nobody_can_mean(content: Any) -> None:
    """It is refused."""
    with pytest.raises(Misfit):
        Drain.from_json(content, "it")


def test_connections_end_with_the_other_machine() -> None:
    """The kernel asks whether it is still there, which ZeroMQ does not by itself."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server, context.socket(zmq.DEALER) as client:
        bind_alive(server, "tcp://127.0.0.1:*")
        where = server.getsockopt_string(zmq.LAST_ENDPOINT)
        client.connect(where)
        client.send(b"")
        assert server.poll(5000)
        assert list(_kept_alive(int(where.rpartition(":")[2]))) == [300]


def _kept_alive(port: int) -> Iterator[int]:
    """Yield for connections to a port, which this process has, after how many s they are asked."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as found:
            if found.family == socket.AF_INET and found.getsockname()[1] == port and found.getpeername():
                assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                yield found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
