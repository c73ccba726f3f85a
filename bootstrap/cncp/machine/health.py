"""Whether the engines asked for answer a client: nothing is done until it is seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from cncp.errors import CncpError
from cncp.hub import Hub, NoAnswer
from cncp.machine import connection, jupyter, logs, steps
from cncp.machine.node import Node
from cncp.machine.patience import Patience
from cncp.machine.services.base import ServiceManager
from cncp.machine.services.processes import running


@dataclass(frozen=True)
class Answers:
    """Whether the controller answers, and which of a node's engines do, by number."""

    answering: frozenset[int]
    controller: bool


_SILENCE = Answers(frozenset(), controller=False)


def _ask(hub: Hub, engines: Mapping[int, str], timeout: float) -> Answers:
    """Ask the hub which engines it has, and those of these uuids (by number) for a sign of life."""
    try:
        registered = set(hub.engines(timeout).values())
    except NoAnswer:
        return _SILENCE
    alive = hub.answering(registered & set(engines.values()), timeout)
    return Answers(frozenset(number for number, uuid in engines.items() if uuid in alive), controller=True)


def wait(node: Node, manager: ServiceManager, timeout: float) -> Answers:
    """Wait until the controller and all engines of this node answer, with the wanted configuration.

    Raises CncpError naming those that do not, when they have done nothing for ``timeout`` seconds or
    as soon as a service ends again and again.
    """
    digests = steps.wanted(node).services
    if not digests:
        return _SILENCE
    document = connection.client(node)
    if document is None:
        # A machine of engines only: the controller is elsewhere, and says what it sees there.
        if not (node.security_dir / connection.ENGINE).exists():
            raise CncpError(
                f"the engines have no connection file: {node.security_dir / connection.ENGINE}",
                "copy ipcontroller-engine.json of the controller there, readable by you alone; they take it up",
            )
        return _wait_for_processes(node, digests, Patience(node, manager, timeout))
    patience = Patience(node, manager, timeout)
    with Hub(document, connection.local_address(node)) as hub:
        while True:
            # Those about to be replaced may still answer: only processes of this start count.
            current = running(node)
            started = all(current[name].digest == digest for name, digest in digests.items())
            engines = {number: current[f"engine-{number}"].uuid for number in node.engine_ids}
            seen = _ask(hub, engines, 0.5) if started else _SILENCE
            if seen.controller and len(seen.answering) == node.engines:
                if jupyter.wanted(node):
                    jupyter.wait(node, patience)
                return seen
            silent = [f"engine-{number}" for number in node.engine_ids if number not in seen.answering]
            if patience.over(silent if seen.controller else node.services):
                raise _unanswered(node, seen, patience.spent)
            time.sleep(0.05)


def _wait_for_processes(node: Node, digests: Mapping[str, str], patience: Patience) -> Answers:
    while True:
        current = running(node)
        missing = [name for name, digest in digests.items() if current[name].digest != digest]
        if not missing:
            return _SILENCE
        if patience.over(missing):
            raise CncpError(
                f"{', '.join(missing)} did not start within {patience.spent}{logs.ending(node, missing[0])}",
                "look at: cncp status, cncp logs",
            )
        time.sleep(0.05)


def _unanswered(node: Node, seen: Answers, spent: str) -> CncpError:
    if not seen.controller:
        what = f"the controller did not answer within {spent}{logs.ending(node, 'controller')}"
        return CncpError(what, "look at: cncp logs --name controller")
    missing = [str(number) for number in node.engine_ids if number not in seen.answering]
    said = logs.ending(node, f"engine-{missing[0]}")
    return CncpError(
        f"{len(seen.answering)}/{node.engines} engines answer after {spent}; silent: {', '.join(missing)}{said}",
        f"look at: cncp status, cncp logs --name engine-{missing[0]}",
    )
