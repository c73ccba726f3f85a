"""A prompt in a running engine: cells go there, output comes back as it is written.

An engine is an IPython kernel, so its magics, ``?`` and tracebacks work; ``jupyter console`` would ask
for a package more. Facts about ipyparallel 9.2: ``AsyncResult.metadata`` of one engine fills while the
cell runs; ``DirectView.execute`` with ``silent`` False has the engine show the last expression.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TextIO

from cncp.errors import CncpError, UsageError, duration
from cncp.ipp.connection_file import ClientFile
from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import Hub
from cncp.machine import connection_files
from cncp.machine.node import Node

_LEAVING = re.compile(r"\s*(?:exit|quit)\s*(?:\(\s*\))?\s*;?\s*")
"""What would end an engine (ipykernel, ``ask_exit``), and is meant to end the prompt."""

_WAITING = 1.0  # s after which a cell may be waiting for another task

_TICK = 0.1  # s between looks at what a cell has written


def client_file(node: Node) -> ClientFile:
    """Return the client's connection file, dialling this machine's controller here. Raises CncpError."""
    document = connection_files.client(node)
    if document is None:
        raise CncpError("there is no client's connection file here", "run this on the controller's machine")
    local = node.local_address if node.controller else None
    return replace(document, location=local) if local else document


def place_of(node: Node, name: str) -> tuple[str, int]:
    """Return host and number of an engine: of this machine, or HOST/engine-N. Raises UsageError."""
    host, _, service = name.rpartition("/")
    match = re.fullmatch(r"(?:engine[-_ ]?)?([0-9]{1,4})", service)
    if match is None:
        raise UsageError(f"{name!r} is no engine", "name one as cncp status does: engine-0, or HOST/engine-0")
    return host_in(host or node.host), int(match[1])


def find(node: Node, name: str) -> tuple[int, str]:
    """Return an engine's id and uuid at the hub. Raises CncpError."""
    place = place_of(node, name)
    with Hub(client_file(node)) as hub:
        engines = hub.engines(timeout=5)
    for number, uuid in engines.items():
        if slot(uuid) == place:
            return number, uuid
    raise CncpError(f"{name} is not registered with the controller", "look at: cncp status")


def console(node: Node, name: str, out: TextIO) -> None:
    """Read cells and run them in an engine, until the end of input, ``exit`` or ``quit``."""
    number, uuid = find(node, name)
    import ipyparallel

    file = client_file(node)
    with contextlib.closing(ipyparallel.Client(connection_info=file.to_json(), timeout=10)) as client:
        view = client[number]
        engine = Engine(file, uuid, name, client.session.session)
        out.write(f"In {name} (id {number}). Its variables are yours; Ctrl-D leaves, the engine goes on.\n")
        out.write(engine.busy())
        for cell in cells(name):
            run(view, cell, out, engine)


class Engine:
    """An engine that a prompt is in: what it does for others meanwhile, and how it is interrupted."""

    def __init__(self, file: ClientFile, uuid: str, name: str, session: str) -> None:
        self._file = file
        self._uuid = uuid
        self._name = name
        self._session = session

    def busy(self) -> str:
        """Return a line that says with whose task the engine is busy, "" where it is with none, or with ours."""
        with Hub(self._file) as hub:
            said = hub.answering([self._uuid], 2.0).get(self._uuid)
        task = said.task if said else None
        if task is None or task.session == self._session:
            return ""
        work = f"a task of another client ({task.username or 'unknown'})"
        since = duration(task.seconds)
        return f"{self._name} is busy for {since} with {work}: your cell waits. Ctrl-C interrupts that task.\n"

    def interrupt(self) -> str:
        """Interrupt what the engine computes; return a line where it does not answer."""
        with Hub(self._file) as hub:
            if hub.signal([self._uuid], signal.SIGINT):
                return ""
        return f"\n{self._name} does not answer; it goes on.\n"


def cells(name: str) -> Iterator[str]:
    """Yield what is typed, several lines where Python wants more."""
    from IPython.core.inputtransformer2 import TransformerManager
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    session: PromptSession[str] = PromptSession(history=InMemoryHistory(), enable_open_in_editor=False)
    whole = TransformerManager()  # type: ignore[no-untyped-call]
    while True:
        lines: list[str] = []
        try:
            while True:
                lines.append(session.prompt(f"{name}: " if not lines else "..." + " " * (len(name) - 1)))
                if finished(whole.check_complete, lines):
                    break
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        cell = "\n".join(lines)
        if _LEAVING.fullmatch(cell):
            return
        if cell.strip():
            yield cell


def finished(check: Callable[[str], tuple[str, int | None]], lines: list[str]) -> bool:
    """Tell whether the lines are a whole cell; an empty line ends a block, an error is the engine's to tell."""
    state, _ = check("\n".join(lines))
    return state != "incomplete"


def run(view: Any, cell: str, out: TextIO, engine: Engine) -> None:
    """Run a cell in an engine and write its output as it comes; Ctrl-C interrupts what the engine computes."""
    from ipyparallel.error import RemoteError

    result = view.execute(cell, silent=False, block=False)
    shown = {"stdout": 0, "stderr": 0, "outputs": 0}
    began, asked = time.monotonic(), False
    while True:
        try:
            if result.wait(_TICK):
                result.wait_for_output(2)
                break
            shown = _show(result.metadata, shown, out)
            if not asked and time.monotonic() - began > _WAITING:
                asked = True
                out.write(engine.busy())
                out.flush()
        except KeyboardInterrupt:
            out.write(engine.interrupt())
    _show(result.metadata, shown, out)
    try:
        reply = result.get()
    except RemoteError as error:
        out.write("\n".join(error.render_traceback()[1:]) + "\n")
        return
    for payload in reply._content.get("payload", []):  # noqa: SLF001  # where `name?` puts its text
        _write(payload.get("data", {}), out)
    _write(reply.data, out)


def _show(metadata: Mapping[str, Any], shown: Mapping[str, int], out: TextIO) -> dict[str, int]:
    """Write what has come since the last time; return how much has been written now."""
    now: dict[str, int] = {}
    for name in ("stdout", "stderr"):
        text = metadata[name] or ""
        out.write(text[shown[name] :])
        now[name] = len(text)
    outputs = list(metadata["outputs"])
    for output in outputs[shown["outputs"] :]:
        _write(output.get("data", {}), out)
    out.flush()
    return {**now, "outputs": len(outputs)}


def _write(bundle: Mapping[str, str], out: TextIO) -> None:
    text = bundle.get("text/plain", "")
    if text:
        out.write(text.rstrip("\n") + "\n")
        out.flush()
