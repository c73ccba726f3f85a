"""What a user wants to know of every service: who it is, what it does, what it uses, how it ended."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from cncp.hub import Hub, NoAnswer
from cncp.machine import connection
from cncp.machine.node import Node
from cncp.machine.services import ServiceManager, ServiceState
from cncp.serve.slots import slot


@dataclass(frozen=True)
class Status:
    """One service.

    ``id`` is the engine's id at the hub, ``uptime`` is in s, ``memory`` in bytes (with children),
    ``cpu`` in s of processor time.
    """

    name: str
    host: str
    id: int | None
    pid: int
    state: str
    uptime: float
    memory: int
    cpu: float
    restarts: int
    last_exit: str

    def document(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)


def status(node: Node, manager: ServiceManager, timeout: float = 1.0) -> list[Status]:
    """Return every wanted service in order. ``timeout`` is how long an engine has to answer, in s."""
    states = manager.states()
    ids, answering, busy, controller = _at_hub(node, timeout)
    found = []
    for name in node.services:
        state = states.get(name, ServiceState(name, running=False))
        if name == "controller":
            word = "up" if controller else "silent"
            number = None
        else:
            place = int(name.partition("-")[2])
            number = ids.get(place)
            if not node.controller:
                # Only the controller's machine knows more.
                word = "running" if state.running else "down"
            elif number is None:
                word = "starting" if state.running else "down"
            elif place not in answering:
                word = "silent"
            else:
                word = "busy" if busy.get(number) else "idle"
        found.append(_with_process(node, name, number, word, state))
    return found


def _at_hub(node: Node, timeout: float) -> tuple[dict[int, int], set[int], dict[int, int], bool]:
    """Return hub ids by our numbers, which numbers answer, queue lengths by id, and if the hub does."""
    document = connection.client(node)
    if document is None:
        return {}, set(), {}, False
    with Hub(document, connection.local_address(node)) as hub:
        try:
            everyone = hub.engines(timeout)
            queues = hub.queues(timeout) if everyone else {}
        except NoAnswer:
            return {}, set(), {}, False
        ours = {number: uuid for number, uuid in everyone.items() if slot(uuid)}
        places = {uuid: place[1] for uuid in ours.values() if (place := slot(uuid)) and place[1] in node.engine_ids}
        alive = hub.answering(list(places), timeout)
    ids = {places[uuid]: number for number, uuid in ours.items() if uuid in places}
    load = {number: one["queue"] + one["tasks"] for number, one in queues.items()}
    return ids, {places[uuid] for uuid in alive}, load, True


def _with_process(node: Node, name: str, number: int | None, word: str, state: ServiceState) -> Status:
    uptime, memory, cpu = 0.0, 0, 0.0
    with contextlib.suppress(psutil.Error):
        if state.pid:
            process = psutil.Process(state.pid)
            family = [process, *process.children(recursive=True)]
            uptime = max(0.0, time.time() - process.create_time())
            if process.status() == psutil.STATUS_STOPPED:
                word = "stopped"
            for one in family:
                with contextlib.suppress(psutil.Error):
                    memory += _memory(one)
                    times = one.cpu_times()
                    cpu += times.user + times.system
    if not state.running:
        word = "down"
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
            one.name,
            "" if one.id is None else str(one.id),
            one.host,
            str(one.pid or ""),
            one.state,
            _duration(one.uptime) if one.pid else "",
            f"{one.memory / 2**20:.0f} MB" if one.pid else "",
            f"{one.cpu:.1f} s" if one.pid else "",
            str(one.restarts),
            one.last_exit,
        ]
        for one in found
    ]


HEADER = ["SERVICE", "ID", "HOST", "PID", "STATE", "UPTIME", "MEMORY", "CPU", "RESTARTS", "LAST EXIT"]


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
