"""Whether the engines asked for answer a client: nothing is done until it is seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from cncp.errors import CncpError
from cncp.hub import Hub, NoAnswer
from cncp.machine import connection, steps
from cncp.machine.node import Node
from cncp.machine.services.base import ServiceManager, ServiceState, running_process
from cncp.serve.slots import slot

_CRASHES = 4  # ends of one service within a wait, after which waiting longer is no use


@dataclass(frozen=True)
class Answers:
    """Which of a node's engines a client reaches: uuids by number."""

    answering: Mapping[int, str]
    registered: Mapping[int, str]
    controller: bool


def probe(node: Node, timeout: float = 1.0) -> Answers:
    """Ask the hub for engines and every engine for a sign of life. ``timeout`` in seconds."""
    document = connection.client(node)
    if document is None:
        return Answers({}, {}, False)
    with Hub(document, connection.local_address(node)) as hub:
        return _ask(hub, node, timeout)


def _ask(hub: Hub, node: Node, timeout: float) -> Answers:
    try:
        everyone = hub.engines(timeout)
    except NoAnswer:
        return Answers({}, {}, False)
    registered = {}
    for uuid in everyone.values():
        place = slot(uuid)
        if place is not None and place[1] in node.engine_ids:
            registered[place[1]] = uuid
    alive = hub.answering(list(registered.values()), timeout)
    return Answers({number: uuid for number, uuid in registered.items() if uuid in alive}, registered, True)


def wait(node: Node, manager: ServiceManager, timeout: float) -> Answers:
    """Wait until the controller and all engines of this node answer, with the wanted configuration.

    Raises CncpError naming those that do not, after ``timeout`` seconds or as soon as a service
    ends again and again.
    """
    digests = steps.wanted(node).services
    document = connection.client(node)
    if document is None:
        # A machine of engines only: the controller is elsewhere, and says what it sees there.
        if not (node.security_dir / connection.ENGINE).exists():
            raise CncpError(
                f"the engines have no connection file: {node.security_dir / connection.ENGINE}",
                "copy ipcontroller-engine.json of the controller there, readable by you alone; they take it up",
            )
        return _wait_for_processes(node, digests, timeout)
    deadline = time.monotonic() + timeout
    look = time.monotonic() + 2
    before = manager.states()
    with Hub(document, connection.local_address(node)) as hub:
        while True:
            # Those about to be replaced may still answer: only processes of this start count.
            current = {name: running_process(node, name) for name in node.services}
            started = all(current[name].digest == digest for name, digest in digests.items())
            seen = _ask(hub, node, 0.5) if started else Answers({}, {}, False)
            uuids = {one.uuid for one in current.values()} - {""}
            if seen.controller and set(seen.answering.values()) == uuids and len(uuids) == node.engines:
                return seen
            now = time.monotonic()
            if now > look:
                look = now + 2
                _give_up_on_crashes(before, manager.states())
            if now > deadline:
                raise _unanswered(node, seen, timeout)
            time.sleep(0.05)


def _wait_for_processes(node: Node, digests: Mapping[str, str], timeout: float) -> Answers:
    deadline = time.monotonic() + timeout
    while True:
        missing = [name for name, digest in digests.items() if running_process(node, name).digest != digest]
        if not missing:
            return Answers({}, {}, False)
        if time.monotonic() > deadline:
            named = ", ".join(missing)
            raise CncpError(f"{named} did not start within {timeout:g} s", "look at: cncp status, cncp logs")
        time.sleep(0.05)


def _give_up_on_crashes(before: Mapping[str, ServiceState], now: Mapping[str, ServiceState]) -> None:
    for name, state in now.items():
        known = before.get(name)
        if state.restarts - (known.restarts if known else 0) >= _CRASHES:
            raise CncpError(
                f"{name} ends again and again: {state.last_exit or 'cause unknown'}",
                f"look at: cncp logs --name {name}",
            )


def _unanswered(node: Node, seen: Answers, timeout: float) -> CncpError:
    if not seen.controller:
        return CncpError(f"the controller did not answer within {timeout:g} s", "look at: cncp logs --name controller")
    missing = [str(number) for number in node.engine_ids if number not in seen.answering]
    return CncpError(
        f"{len(seen.answering)}/{node.engines} engines answer after {timeout:g} s; silent: {', '.join(missing)}",
        f"look at: cncp status, cncp logs --name engine-{missing[0]}",
    )
