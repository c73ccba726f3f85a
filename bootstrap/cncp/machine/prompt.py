"""A prompt in a running engine: cells go there, output comes back as it is written.

An engine is an IPython kernel, so its magics, ``?`` and tracebacks work; ``jupyter console`` would ask
for a package more. Facts about ipyparallel 9.2: ``AsyncResult.metadata`` of one engine fills while the
cell runs; ``DirectView.execute`` with ``silent`` False has the engine show the last expression.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from cncp.errors import CncpError, UsageError
from cncp.hub import Hub
from cncp.machine import connection
from cncp.machine.node import Node
from cncp.machine.services.base import running_process
from cncp.serve.slots import host_in, slot

_LEAVING = re.compile(r"\s*(?:exit|quit)\s*(?:\(\s*\))?\s*;?\s*")
"""What would end an engine (ipykernel, ``ask_exit``), and is meant to end the prompt."""

_TICK = 0.1  # s between looks at what a cell has written


def client_file(node: Node) -> dict[str, Any]:
    """Return the client's connection file, dialling this machine's controller here. Raises CncpError."""
    document = connection.client(node)
    if document is None:
        raise CncpError("there is no client's connection file here", "run this on the controller's machine")
    local = connection.local_address(node) if node.controller else None
    return {**document, "location": local} if local else document


def find(node: Node, name: str) -> tuple[int, int]:
    """Return an engine's id at the hub, and its pid if it is one of this machine, else 0. Raises CncpError.

    ``name`` is engine-N of this machine, or HOST/engine-N.
    """
    host, _, service = name.rpartition("/")
    match = re.fullmatch(r"engine-([0-9]{1,4})", service)
    if match is None:
        raise UsageError(f"{name!r} is no engine", "name one as cncp status does: --name engine-0, or HOST/engine-0")
    place = (host_in(host or node.host), int(match[1]))
    with Hub(client_file(node)) as hub:
        engines = hub.engines(timeout=5)
    for number, uuid in engines.items():
        if slot(uuid) == place:
            process = running_process(node, service)
            return number, process.pid if process.uuid == uuid else 0
    raise CncpError(f"{name} is not registered with the controller", "look at: cncp status")


def console(node: Node, name: str, out: TextIO) -> None:
    """Read cells and run them in an engine, until the end of input, ``exit`` or ``quit``."""
    number, pid = find(node, name)
    import ipyparallel

    with contextlib.closing(ipyparallel.Client(connection_info=client_file(node), timeout=10)) as client:
        view = client[number]
        out.write(f"In {name} (id {number}). Its variables are yours; Ctrl-D leaves, the engine goes on.\n")
        for cell in cells(name):
            run(view, cell, out, lambda: interrupt(pid, out))


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


def run(view: Any, cell: str, out: TextIO, stop: Callable[[], None]) -> None:
    """Run a cell in an engine and write its output as it comes; ``stop`` is called on Ctrl-C."""
    from ipyparallel.error import RemoteError

    result = view.execute(cell, silent=False, block=False)
    shown = {"stdout": 0, "stderr": 0, "outputs": 0}
    while True:
        try:
            if result.wait(_TICK):
                result.wait_for_output(2)
                break
            shown = _show(result.metadata, shown, out)
        except KeyboardInterrupt:
            stop()
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
    for one in outputs[shown["outputs"] :]:
        _write(one.get("data", {}), out)
    out.flush()
    return {**now, "outputs": len(outputs)}


def _write(data: Mapping[str, str], out: TextIO) -> None:
    text = data.get("text/plain", "")
    if text:
        out.write(text.rstrip("\n") + "\n")
        out.flush()


def interrupt(pid: int, out: TextIO) -> None:
    """Interrupt what an engine of this machine computes."""
    if not pid:
        out.write("\nThis engine is on another machine and cannot be interrupted from here; it goes on.\n")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
