"""What a user wants to know of every service: who it is, what it does, what it uses, how it ended."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import psutil

from cncp.errors import duration, plural
from cncp.field_types import Bytes, EngineUuid, Name, Number, Seconds, ShortText, Text, Within, Word
from cncp.ipp.hub import Hub
from cncp.machine import connection_files, parking_mark
from cncp.machine.desired import RENDEZVOUS
from cncp.machine.jupyter import service
from cncp.machine.node import Node
from cncp.machine.ops import engine_states
from cncp.machine.ops.engine_states import RollCall
from cncp.machine.services import ServiceManager, ServiceState
from cncp.machine.services.base import unkept
from cncp.machine.services.kinds import split
from cncp.machine.services.processes import running
from cncp.pidfile import Process
from cncp.ports import connected
from cncp.records import Record
from cncp.rendezvous import member_record

MEMBER = "member"
"""What stands in the place of a service's name where it is a machine whose services cannot be asked."""


@dataclass(frozen=True)
class Status(Record):
    """One service.

    ``id`` is the engine's id at the hub, ``uptime`` is in s, ``memory`` in bytes (with children),
    ``cpu`` in s of processor time, ``uuid`` an engine's identity at the hub, ``busy`` for how many s it has
    computed its task. A member of a pool that is no host to be asked is one as well, of the name MEMBER: in its state
    for ``busy`` s, and ``last_exit`` is why.
    """

    name: Name
    host: ShortText
    id: Number | None
    pid: Number
    state: Word
    uptime: Seconds
    memory: Bytes
    cpu: Annotated[float, Within(0, 1e15)]
    restarts: Bytes
    last_exit: Text
    uuid: EngineUuid = ""
    busy: Seconds = 0.0


def status(node: Node, manager: ServiceManager, timeout: float = 1.0) -> list[Status]:
    """Return every wanted service in order. ``timeout`` is how long an engine has to answer, in s."""
    states = manager.states()
    processes = running(node)
    uuids = {name: process.uuid for name, process in processes.items()}
    # What goes on without its service manager runs as well: `check` says what to do.
    for process in unkept(node, manager, states).services:
        states[process.name] = replace(
            states.get(process.name, ServiceState(process.name, running=True)), running=True, pid=process.pid
        )
    hub = _at_hub(node, set(uuids.values()), timeout)
    found = []
    for name in node.services:
        state = states.get(name, ServiceState(name, running=False))
        word, number = _state(node, name, processes[name], hub) if state.running else ("down", None)
        engine = hub.engines.get(uuids[name])
        row = _with_process(node, name, number, word, state)
        found.append(replace(row, uuid=uuids[name], busy=engine.busy if engine else 0.0))
    return found


def _state(node: Node, name: str, process: Process, seen: RollCall) -> tuple[str, int | None]:
    """Say in a word what a service does whose process runs, and return an engine's id at the hub."""
    if name == "controller":
        return "up" if seen.controller else "silent", None
    if name == service.NAME:
        return "up" if service.answers(node) else "silent", None
    if name == RENDEZVOUS:
        known = member_record.load(Path(node.home)) if node.rendezvous == "member" else None
        return known.state if known else "up", None
    if split(name)[0] == "tunnel":
        return "up" if connected(process.pid) else "connecting", None
    if not node.controller:
        # Only the controller's machine knows more.
        return "parked" if parking_mark.mark(node.run_dir).exists() else "running", None
    engine = seen.engines.get(process.uuid)
    return (engine.state, engine.id) if engine else ("starting", None)


def _at_hub(node: Node, uuids: Collection[str], timeout: float) -> RollCall:
    """Ask the controller of this machine, if it has one, about its engines."""
    document = connection_files.client(node)
    if document is None:
        return engine_states.SILENCE
    with Hub(document, node.local_address) as hub:
        return engine_states.look(hub, uuids, timeout)


def _with_process(node: Node, name: str, number: int | None, word: str, state: ServiceState) -> Status:
    uptime, memory, cpu = 0.0, 0, 0.0
    with contextlib.suppress(psutil.Error):
        if state.pid:
            process = psutil.Process(state.pid)
            family = [process, *process.children(recursive=True)]
            uptime = max(0.0, time.time() - process.create_time())
            if process.status() == psutil.STATUS_STOPPED:
                word = "stopped"
            for member in family:
                with contextlib.suppress(psutil.Error):
                    memory += _memory(member)
                    times = member.cpu_times()
                    cpu += times.user + times.system
    return Status(
        name,
        node.host,
        number,
        state.pid,
        word,
        round(uptime, 1),
        memory,
        round(cpu, 2),
        state.restarts,
        state.last_exit,
    )


def _memory(process: psutil.Process) -> int:
    """Return the proportional set size: what is shared with a parent is not counted twice."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def rows(found: list[Status]) -> list[list[str]]:
    """Return the status as cells of a table, in units people read."""
    return [
        [
            entry.name,
            "" if entry.id is None else str(entry.id),
            entry.host,
            str(entry.pid or ""),
            f"{entry.state} {duration(entry.busy)}"
            if entry.busy >= 1 and (entry.state == "busy" or entry.name == MEMBER)
            else entry.state,
            duration(entry.uptime) if entry.pid else "",
            f"{entry.memory / 2**20:.0f} MB" if entry.pid else "",
            f"{entry.cpu:.1f} s" if entry.pid else "",
            str(entry.restarts),
            entry.last_exit,
        ]
        for entry in found
    ]


def totals(found: list[Status]) -> str:
    """Return a line on all engines: how many are in which state, and what all services use; "" where none runs."""
    engines = [entry for entry in found if split(entry.name)[0] == "engine"]
    if not any(engine.pid for engine in engines):
        return ""
    states = ", ".join(f"{count} {state}" for state, count in Counter(engine.state for engine in engines).most_common())
    hosts = len({engine.host for engine in engines})
    memory = sum(entry.memory for entry in found) / 2**20
    on = f" · {plural(hosts, 'host')}" if hosts > 1 else ""
    return f"{plural(len(engines), 'engine')}: {states}{on} · {memory:.0f} MB"


HEADER = ["SERVICE", "ID", "HOST", "PID", "STATE", "UPTIME", "MEMORY", "CPU", "RESTARTS", "LAST EXIT"]
