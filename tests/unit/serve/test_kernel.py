"""What engines answer in place of ipyparallel's nanny, and what their tasks fork."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.serve.kernel import Answering, Kernel, signal_number

CODE = Path(__file__).resolve().parents[3] / "bootstrap"

FORKS = """
import os, signal, sys
from cncp.serve.kernel import fork_without

def handler(*_):
    pass

signal.signal(signal.SIGTERM, handler)
fork_without((handler,), (signal.SIGTERM, signal.SIGINT))
own = len(sys.argv) > 1
if own:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
for _ in range(200):
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if own:
        break
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
assert own or signal.getsignal(signal.SIGTERM) is handler
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own."""
    argv = [sys.executable, "-c", code, *arguments]
    return subprocess.run(argv, cwd=CODE, capture_output=True, text=True, check=False, timeout=20)


class Stream:
    """A stream of which only the clock is used."""

    def __init__(self) -> None:
        self.later: list[tuple[Any, ...]] = []
        self.io_loop = SimpleNamespace(call_later=lambda *call: self.later.append(call))


def kernel() -> tuple[Kernel, list[tuple[str, dict[str, Any]]]]:
    """Return a kernel that has no sockets, and what it sends."""
    sent: list[tuple[str, dict[str, Any]]] = []
    made = Kernel.__new__(Kernel)
    made.session = None
    values = {
        "session": SimpleNamespace(send=lambda _, kind, content, **__: sent.append((kind, content))),
        "log": SimpleNamespace(info=lambda *_: None),
    }
    made._trait_values.update(values)
    return made, sent


def test_signals_are_delivered_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that Python handles is delivered before the answer; one that may end the process after it."""
    engine, sent = kernel()
    order: list[Any] = []
    monkeypatch.setattr("cncp.serve.kernel.deliver", lambda number: order.append((number, len(sent))))
    for given in ("SIGINT", 2, "2", 0):
        engine.signal_request(Stream(), [], {"content": {"sig": given}})
    assert order == [(2, 0), (2, 1), (2, 2), (0, 3)]
    stream = Stream()
    engine.signal_request(stream, [], {"content": {"sig": "SIGKILL"}})
    assert len(order) == 4
    assert [call[2] for call in stream.later] == [signal.SIGKILL]
    assert sent == 5 * [("signal_reply", {"status": "ok"})]


@pytest.mark.parametrize("given", ["SIGNOSUCH", "signal", "", -1, 65, None, [], "SIG_DFL_"])
def test_there_are_no_other_signals(given: Any) -> None:
    """What is no signal is refused before anything is sent."""
    with pytest.raises(ValueError, match="there is no signal"):
        signal_number(given)


def test_a_signal_ends_the_waiting_of_the_main_thread() -> None:
    """It goes to the thread that runs tasks, whichever asks for it."""
    code = """
import signal, threading, time
from cncp.serve.kernel import deliver
try:
    threading.Thread(target=deliver, args=(signal.SIGINT,)).start()
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = python(code)
    assert done.stdout == "interrupted\n"


def test_every_request_is_answered() -> None:
    """Requests that nobody knows, and handlers that fail, get the error for an answer."""
    engine, sent = kernel()

    def fails(*_: object) -> None:
        raise KeyError("nothing")

    async def works(*_: object) -> None:
        sent.append(("works_reply", {}))

    engine.get_engine_info = lambda method: {"method": method}
    handlers = Answering({"fails_request": fails, "works_request": works}, engine.refuse)
    for kind in ("works_request", "fails_request", "unheard_of_request"):
        asyncio.run(handlers.get(kind, None)(None, [], {"header": {"msg_type": kind}}))
    assert [kind for kind, _ in sent] == ["works_reply", "fails_reply", "unheard_of_reply"]
    assert [content.get("ename") for _, content in sent] == [None, "KeyError", "NotImplementedError"]
    assert sent[1][1]["status"] == "error"


@pytest.mark.parametrize(("arguments", "endings"), [([], {-15}), (["own"], {7})])
def test_what_a_task_forks_ends_by_the_signals_that_end_programs(arguments: list[str], endings: set[int]) -> None:
    """A child has none of the service's handlers, however early a signal comes; the task's own it has."""
    done = python(FORKS, *arguments)
    assert done.returncode == 0, done.stderr
    assert {int(line) for line in done.stdout.split()} == endings


def test_forks_of_threads_have_their_own_masks() -> None:
    """What one thread has blocked does not come undone by the fork of another."""
    code = """
import os, signal, threading
from cncp.serve.kernel import fork_without
fork_without((), (signal.SIGTERM,))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
def fork():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    child = os.fork()
    if not child:
        os._exit(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""
    done = python(code)
    assert done.stdout.split() == ["0", "1"]
