"""Whether the engines asked for answer a client: nothing is done until it is seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.ipp.connection_file import ENGINE
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files
from cncp.machine.jupyter import service
from cncp.machine.node import Node
from cncp.machine.ops import checks, steps
from cncp.machine.services.base import ServiceManager
from cncp.machine.services.processes import running
from cncp.machine.services.startup import Patience, began
from cncp.pidfile import Process


@dataclass(frozen=True)
class Answers:
    """Whether the controller answers, and which of a node's engines do, by number."""

    answering: frozenset[int]
    controller: bool
    known: frozenset[str] = frozenset()
    """The uuids of all engines that the hub knows, of whatever host."""


Revive = Callable[[Sequence[str]], None]
"""Starts services anew."""

REGISTERS = 40.0
"""Seconds within which an engine that reaches its controller is registered; it gives itself 30 (IPEngine.timeout)."""

_SILENCE = Answers(frozenset(), controller=False)


def _ask(hub: Hub, engines: Mapping[int, str], timeout: float) -> Answers:
    """Ask the hub which engines it has, and those of these uuids (by number) for a sign of life."""
    try:
        registered = set(hub.engines(timeout).values())
    except NoAnswer:
        return _SILENCE
    alive = hub.answering(registered & set(engines.values()), timeout)
    answering = frozenset(number for number, uuid in engines.items() if uuid in alive)
    return Answers(answering, controller=True, known=frozenset(registered))


def wait(node: Node, manager: ServiceManager, timeout: float, revive: Revive | None = None) -> Answers:
    """Wait until the controller and all engines of this node answer, with the wanted configuration.

    An engine that has not come to the controller in the time it has for that, and does nothing, is
    given to ``revive`` once: it dials an address of before, or its controller's silence outlasted it.
    Raises CncpError naming those that do not, when they have done nothing for ``timeout`` seconds or
    as soon as a service ends again and again.
    """
    digests = steps.wanted(node).services
    if not digests:
        return _SILENCE
    document = connection_files.client(node)
    if document is None:
        # A machine of engines only: the controller is elsewhere, and says what it sees there.
        if not (node.security_dir / ENGINE).exists():
            raise CncpError(
                f"the engines have no connection file: {node.security_dir / ENGINE}",
                "copy ipcontroller-engine.json of the controller there, readable by you alone; they take it up",
            )
        return _wait_for_processes(node, digests, Patience(node, manager, timeout))
    patience = Patience(node, manager, timeout)
    revived: set[str] = set()
    with Hub(document, node.local_address) as hub:
        while True:
            # Those about to be replaced may still answer: only processes of this start count.
            current = running(node)
            started = all(current[name].digest == digest for name, digest in digests.items())
            engines = {number: current[f"engine-{number}"].uuid for number in node.engine_ids}
            seen = _ask(hub, engines, 0.5) if started else _SILENCE
            if seen.controller and len(seen.answering) == node.engines:
                if service.wanted(node):
                    service.wait(node, patience)
                return seen
            silent = [f"engine-{number}" for number in node.engine_ids if number not in seen.answering]
            if patience.over(silent if seen.controller else node.services):
                raise _unanswered(node, seen, patience)
            lost = [name for name in _lost(current, seen, patience) if name in silent and name not in revived]
            if lost and revive is not None:
                revived.update(lost)
                revive(lost)
                patience = Patience(node, manager, timeout)
            time.sleep(0.05)


def _lost(current: Mapping[str, Process], seen: Answers, patience: Patience) -> list[str]:
    """Return engines that the hub does not know although they had the time to tell it, and that do nothing now."""
    if not seen.controller or patience.working is None:
        return []
    return [
        name
        for name, process in current.items()
        if process.uuid and process.uuid not in seen.known and name not in patience.working and late(process.pid)
    ]


def late(pid: int) -> bool:
    """Tell whether an engine with this process should have registered by now."""
    return time.time() - began(pid) > REGISTERS


def _wait_for_processes(node: Node, digests: Mapping[str, str], patience: Patience) -> Answers:
    def others() -> list[str]:
        current = running(node)
        return [name for name, digest in digests.items() if current[name].digest != digest]

    if missing := patience.until(others):
        raise CncpError(
            f"{', '.join(missing)} did not start within {patience.spent}{patience.ending(missing[0])}",
            "look at: cncp status, cncp logs",
        )
    return _SILENCE


def _unanswered(node: Node, seen: Answers, patience: Patience) -> CncpError:
    for problem in checks.full((Path(node.home), node.log_dir)):
        return CncpError(f"{problem}: services cannot start", "make room on that disk, then: cncp up")
    if not seen.controller:
        at = connection_files.dialled(node)
        problem = f"the controller did not answer at {at} within {patience.spent}{patience.ending('controller')}"
        return CncpError(problem, "look at: cncp logs --name controller")
    missing = [str(number) for number in node.engine_ids if number not in seen.answering]
    first = f"engine-{missing[0]}"
    known = running(node)[first].uuid in seen.known
    at = connection_files.dialled(node) if node.controller else connection_files.engines_dial(node)
    why = "" if known else f"; {first} has not reached the controller at {at}"
    said = patience.ending(first).replace("; its log", f"; the log of {first}", 1)
    return CncpError(
        f"{len(seen.answering)}/{node.engines} engines answer after {patience.spent};"
        f" silent: {', '.join(missing)}{why}{said}",
        f"look at: cncp status, cncp logs --name {first}",
    )
