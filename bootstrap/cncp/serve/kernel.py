"""The engine's kernel: what it answers in place of ipyparallel's nanny, and how it is forked."""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipyparallel.engine.kernel import IPythonParallelKernel
from ipyparallel.error import wrap_exception
from traitlets import default

from cncp.serve.foreign_code import refuse_foreign

_Handler = Callable[[Any, list[bytes], dict[str, Any]], Any]

_OF_TASK = ("msg_id", "session", "username")
"""What is told of a task: whose it is."""

_LATER = 0.1  # s for an answer to leave a process that a signal is going to end


class Kernel(IPythonParallelKernel):  # type: ignore[misc]  # ipyparallel has no types
    """The engine's kernel in our profile; left alone it makes itself a profile_default.

    Its control channel has a thread of its own: what comes there is done while a task runs.
    """

    _running: tuple[float, dict[str, Any]] | None = None
    """When the request that is handled came, and its header."""

    control_msg_types = (*IPythonParallelKernel.control_msg_types, "signal_request")

    @default("profile_dir")
    def _profile_dir(self) -> object:
        return self.parent.profile_dir

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        known: dict[str, _Handler] = self.control_handlers  # type: ignore[has-type]  # made by ipykernel
        self.control_handlers = Answering(known, self.refuse)

    def do_apply(self, *arguments: Any) -> Any:
        """Run a function, unless another Python has compiled it."""
        refuse_foreign()
        return super().do_apply(*arguments)

    def start(self) -> None:
        """Do what ``IPythonKernel.start`` does, but for the debugger: engines have none, and need no warning."""
        self.shell.exit_now = False
        super(IPythonKernel, self).start()  # type: ignore[misc]  # mypy sees no base class

    @property
    def kernel_info(self) -> dict[str, Any]:
        """What the engine says of itself, and of the task that it computes."""
        running = self._running
        told = {}
        if running is not None:
            since, header = running
            told = {"seconds": round(time.monotonic() - since, 1), **{key: header.get(key, "") for key in _OF_TASK}}
        return {**super().kernel_info, "task": told}

    def pre_handler_hook(self) -> None:
        """Note what is about to be computed."""
        self._running = (time.monotonic(), self.get_parent("shell").get("header", {}))
        super().pre_handler_hook()

    def post_handler_hook(self) -> None:
        """Note that it is done."""
        self._running = None
        super().post_handler_hook()

    def refuse(self, stream: Any, idents: list[bytes], message: dict[str, Any]) -> None:
        """Answer with the exception that is being handled: a client would wait for ever otherwise."""
        kind = message["header"]["msg_type"].removesuffix("_request") + "_reply"
        content = wrap_exception(self.get_engine_info(method="control"))
        self.session.send(stream, kind, content=content, parent=message, ident=idents)

    def signal_request(self, stream: Any, idents: list[bytes], message: dict[str, Any]) -> None:
        """Send this process a signal, as ``Client.send_signal`` asks for."""
        number = signal_number(message["content"]["sig"])
        self.log.info("a client sends signal %d", number)
        # Only Python's own handlers leave the process the time to answer.
        if handled := callable(signal.getsignal(number)) if number else True:
            deliver(number)
        self.session.send(stream, "signal_reply", content={"status": "ok"}, parent=message, ident=idents)
        if not handled:
            stream.io_loop.call_later(_LATER, deliver, number)


class Answering(dict[str, _Handler]):
    """Handlers of requests by kind: those that fail, and those that nobody knows, are answered as well."""

    def __init__(self, handlers: dict[str, _Handler], refuse: _Handler) -> None:
        super().__init__(handlers)
        self._refuse = refuse

    def get(self, kind: str, _: object = None) -> _Handler:
        """Return what handles a request of this kind, and answers when that raises."""
        handler = super().get(kind)

        async def handle(stream: Any, idents: list[bytes], message: dict[str, Any]) -> None:
            try:
                if handler is None:
                    raise NotImplementedError(f"engines do not know {kind}")  # noqa: TRY301  # answered below
                result = handler(stream, idents, message)
                if inspect.isawaitable(result):
                    await result
            except Exception:  # noqa: BLE001  # whatever it was, the client is to know
                self._refuse(stream, idents, message)

        return handle


def signal_number(given: str | int) -> int:
    """Return the number of a signal that is given by name or number. Raises ValueError."""
    number = getattr(signal, given, given) if isinstance(given, str) else given
    try:
        if 0 <= int(number) < signal.NSIG:
            return int(number)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"there is no signal {given!r}")


def deliver(number: int) -> None:
    """Send this process a signal: to its main thread, whose waiting it is to end."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def fork_without(handlers: Collection[Any], numbers: Collection[signal.Signals]) -> None:
    """Have processes that are forked from here begin with the default for signals that these handlers handle.

    Handlers of a service are of no use in a child, which would have to end, and would not. A signal that
    arrives during the fork waits until the child has no handler any more: Python drops what it has noted
    by then (``PyOS_AfterFork_Child``).
    """
    before = threading.local()

    def block() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def begin() -> None:
        # What a signal would write there wakes the parent.
        signal.set_wakeup_fd(-1)
        for number in numbers:
            if signal.getsignal(number) in handlers:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=begin)
