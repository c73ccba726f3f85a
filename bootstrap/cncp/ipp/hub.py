"""A client of the hub in a few frames of ZeroMQ: who is registered, what is queued, who answers.

``ipyparallel.Client`` does far more and takes 0.4 s to import; a health check that runs on every
command must not. The wire format is Jupyter's messaging protocol as ``jupyter_client.session``
speaks it: identities, ``<IDS|MSG>``, an HMAC-SHA256 in hex, then header, parent, metadata and
content as JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import zmq

from cncp.errors import CncpError
from cncp.field_types import Matching, Number, Seconds, ShortText
from cncp.ipp.connection_file import ConnectionFile, EngineFile
from cncp.records import Misfit, Odd, Record, parse

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R", bound=Record)
T = TypeVar("T")

_DELIMITER = b"<IDS|MSG>"

SUBSCRIBES = "subscribes"
"""Whether who asks for a connection goes on to subscribe to what becomes of engines, as clients do that say nothing."""

_SOCKETS = 3
"""How many sockets in a row a message is tried on."""


class NoAnswer(CncpError):
    """The controller did not answer in time."""


@dataclass(frozen=True)
class Load(Record):
    """How many messages are queued for an engine, and how many it runs as tasks."""

    queue: Number = 0
    tasks: Number = 0


IDLE = Load()


@dataclass(frozen=True)
class Task(Record):
    """What an engine computes, as it says itself (``serve.kernel``): for how many s, and for whom."""

    seconds: Seconds = 0.0
    session: ShortText = ""
    username: ShortText = ""


@dataclass(frozen=True)
class Said(Record):
    """What an engine answers: its task, None without any or where it says nothing of it, and a status."""

    task: Task | None = None
    status: ShortText = ""

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Take a task without anything for none."""
        return {**members, "task": members.get("task") or None}


@dataclass(frozen=True)
class _Registered(Record):
    engines: Mapping[Annotated[str, Matching("[0-9]{1,9}", "a number")], str]


@dataclass(frozen=True)
class Work(Record):
    """What engines have to do, by their ids, and how many tasks no engine has."""

    engines: Mapping[str, Load]
    unassigned: Number = 0

    @property
    def loads(self) -> dict[int, Load]:
        """The engines' part of it, by number."""
        return {int(number): load for number, load in self.engines.items()}

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Tell engines, whose members are numbers, from what else there is."""
        return {**members, "engines": {name: load for name, load in members.items() if name.isdecimal()}}


@dataclass(frozen=True)
class _Drained(Record):
    tasks: Mapping[str, Number]


class _Reply(NamedTuple):
    to: object
    content: Mapping[str, object]


def _address(connection: ConnectionFile, channel: str) -> str:
    """Return the URL of a channel; a controller on all interfaces is dialled at its location."""
    return f"tcp://{connection.dialled}:{getattr(connection, channel)}"


class Hub:
    """A connection to a controller, made from its connection file.

    ``host`` is dialled instead of the location in the file, for a controller on this machine.
    """

    def __init__(self, connection: ConnectionFile, host: str | None = None) -> None:
        self._connection = replace(connection, location=host) if host else connection
        self._key = connection.key.encode()
        self._session = uuid.uuid4().hex
        self._context = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection and whatever is still to be sent on it."""
        self._context.destroy(linger=0)

    def engines(self, timeout: float = 1.0) -> dict[int, str]:
        """Return the uuid of every registered engine by its id. Raises NoAnswer."""
        found = self._request("connection_request", {SUBSCRIBES: False}, timeout, _Registered)
        return {int(number): ident for number, ident in found.engines.items()}

    def queues(self, timeout: float = 1.0) -> dict[int, Load]:
        """Return, by engine id, how many messages are queued and running as tasks. Raises NoAnswer."""
        return self.work(timeout).loads

    def work(self, timeout: float = 1.0) -> Work:
        """Return what engines have to do, and what waits for one. Raises NoAnswer."""
        return self._request("queue_request", {"targets": None}, timeout, Work)

    def left(self, timeout: float = 1.0) -> int:
        """Return how many tasks are queued or running, on engines or for none yet. Raises NoAnswer."""
        found = self.work(timeout)
        return found.unassigned + sum(load.queue + load.tasks for load in found.engines.values())

    def drain(self, idents: Collection[str], seconds: float, timeout: float = 1.0) -> Mapping[str, int]:
        """Have engines get no load-balanced task for so many s; return how many each still has. Raises NoAnswer.

        With 0 they get tasks again. The scheduler itself answers, which knows of a task before the hub does.
        """
        content = {"uuids": list(idents), "seconds": seconds}
        return self._request("drain_request", content, timeout, _Drained).tasks

    def _request(self, kind: str, content: Mapping[str, object], timeout: float, answer: type[R]) -> R:
        """Ask the hub and return its reply. ``timeout`` in seconds."""
        deadline = time.monotonic() + timeout
        sent = self._send("registration", kind, content)
        while (reply := self._receive("registration", deadline)) is not None:
            if reply.to == sent:
                try:
                    return answer.from_json(reply.content, "the controller's answer")
                except Misfit as error:
                    raise self._no_answer(error.message) from None
        raise self._no_answer(f"the controller did not answer within {timeout:g} s")

    def _no_answer(self, problem: str) -> NoAnswer:
        where = _address(self._connection, "registration")
        return NoAnswer(f"{problem} at {where}", "look at: cncp status, cncp logs controller")

    def unregister(self, number: int, uuid: str, timeout: float = 1.0) -> None:
        """Tell the hub that an engine is gone, rather than have it wait out the tolerance. Raises NoAnswer."""
        self._send("registration", "unregistration_request", {"id": number, "uuid": uuid})
        # The hub answers what comes next on the same connection only after that.
        self.engines(timeout)

    def answering(self, idents: Collection[str], timeout: float = 1.0, channel: str = "control") -> dict[str, Said]:
        """Return what the engines with these uuids say of themselves that answer within ``timeout`` seconds.

        On ``control`` an engine answers while it computes, on ``mux`` only between tasks.
        """
        return self._ask_engines(idents, "kernel_info_request", {}, timeout, channel)

    def signal(self, idents: Collection[str], number: int, timeout: float = 5.0) -> dict[str, Said]:
        """Send engines a signal, on whatever machines they are; return the answers of those that had it."""
        return self._ask_engines(idents, "signal_request", {"sig": number}, timeout, "control")

    def _ask_engines(
        self, idents: Collection[str], kind: str, content: Mapping[str, object], timeout: float, channel: str
    ) -> dict[str, Said]:
        waiting: dict[object, str] = {self._send(channel, kind, content, ident): ident for ident in idents}
        answered: dict[str, Said] = {}
        deadline = time.monotonic() + timeout
        while waiting and (reply := self._receive(channel, deadline)) is not None:
            ident = waiting.pop(reply.to, None)
            if ident is not None:
                answered[ident] = _said(reply.content)
        return answered

    def _socket(self, channel: str) -> zmq.Socket[bytes]:
        if channel not in self._sockets:
            socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
            if self._connection.curve_serverkey:
                socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
                socket.curve_serverkey = self._connection.curve_serverkey.encode()
            socket.identity = f"{self._session}-{channel}".encode()
            socket.connect(_address(self._connection, channel))
            self._sockets[channel] = socket
        return self._sockets[channel]

    def _send(self, channel: str, kind: str, content: Mapping[str, object], to: str | None = None) -> str:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": self._session,
            "username": "cncp",
            "date": datetime.now(timezone.utc).isoformat(),
            "version": "5.3",
        }
        frames = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        signature = self._sign(frames)
        route = [to.encode()] if to is not None else []
        self._deliver(channel, [*route, _DELIMITER, signature, *frames])
        return header["msg_id"]

    def _deliver(self, channel: str, message: list[bytes]) -> None:
        """Hand a message to a socket that takes it, without waiting. Raises NoAnswer.

        One whose peer spoke another protocol, as a proxy does or a stranger on the port, is given up by
        ZeroMQ for good, at whatever moment: it neither connects again nor takes a message.
        """
        for _ in range(_SOCKETS):
            try:
                self._socket(channel).send_multipart(message, zmq.NOBLOCK)
            except zmq.Again:
                self._sockets.pop(channel).close(linger=0)
            else:
                return
        raise self._no_answer("the controller takes no message")

    def _receive(self, channel: str, deadline: float) -> _Reply | None:
        """Return the next well-signed message, or None when the deadline has passed."""
        socket = self._socket(channel)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not socket.poll(int(left * 1000) + 1):
                return None
            frames = socket.recv_multipart()
            if _DELIMITER not in frames:
                continue
            signature, *parts = frames[frames.index(_DELIMITER) + 1 :]
            if len(parts) < 4 or not hmac.compare_digest(signature, self._sign(parts[:4])):
                continue
            try:
                parent, content = (parse(parts[at]) for at in (1, 3))
            except Odd:
                continue
            if isinstance(parent, dict) and isinstance(content, dict):
                return _Reply(parent.get("msg_id"), content)

    def _sign(self, frames: list[bytes]) -> bytes:
        if not self._key:
            return b""
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for frame in frames:
            digest.update(frame)
        return digest.hexdigest().encode()


def _said(content: Mapping[str, object]) -> Said:
    """Return what an engine answers; of one that speaks otherwise, that it does."""
    try:
        return Said.from_json(content, "it")
    except Misfit:
        return Said()


def asked(engine: EngineFile | None, ask: Callable[[Hub], T]) -> T | None:
    """Return what the controller of an engines' connection file answers, at whichever address; None where none does."""
    if engine is None:
        return None
    for host in (None, *engine.names):
        with contextlib.suppress(NoAnswer, OSError, UnicodeError), Hub(engine, host) as hub:
            return ask(hub)
    return None
