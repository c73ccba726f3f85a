"""Which engines, of whatever hosts, answer: asked at the controller's machine.

    venv/bin/python -I -Xutf8 -m cncp.remote engines [SECONDS]

Standard input holds a JSON list of engine uuids. The answer is a JSON object on standard output:
``controller`` (whether it answers) and ``engines``, by uuid ``id``, ``state`` (idle, busy, silent) and ``busy``,
for how many seconds it has computed its task.
With SECONDS it waits as long for all of them to be registered and to answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

from cncp import accounts
from cncp.console import answered
from cncp.errors import CncpError
from cncp.field_types import EngineUuid, Matching, Number, Seconds
from cncp.ipp.hub import IDLE, Hub, Load, NoAnswer, Said
from cncp.machine import connection_files
from cncp.machine.node import Node, installed
from cncp.records import Record, read
from cncp.waiting import wait_until


@dataclass(frozen=True)
class EngineState(Record):
    """An engine that the controller knows: its id, whether it is idle, busy or silent, for how many s it is busy."""

    id: Number
    state: Annotated[str, Matching("idle|busy|silent", "a state")]
    busy: Seconds = 0.0


@dataclass(frozen=True)
class RollCall(Record):
    """Whether the controller answers, and the engines that it knows, by uuid."""

    controller: bool
    engines: Mapping[EngineUuid, EngineState]


SILENCE = RollCall(controller=False, engines={})
"""What is known where no controller answers."""

_ANSWER = 1.0  # s that an engine has to answer


def roll_call(node: Node, uuids: Collection[str], patience: float = 0.0) -> RollCall:
    """Ask the controller of this machine about engines; wait up to ``patience`` seconds for all of them."""
    document = connection_files.client(node)
    if document is None:
        raise CncpError(f"there is no controller in {node.home}", "make one: cncp up")

    def all_answer(seen: RollCall) -> bool:
        return len([engine for engine in seen.engines.values() if engine.state != "silent"]) == len(uuids)

    with Hub(document, node.local_address) as hub:
        return wait_until(lambda: look(hub, uuids), patience, enough=all_answer)


def look(hub: Hub, uuids: Collection[str], timeout: float = _ANSWER) -> RollCall:
    """Ask once, by uuid, because engines of other hosts have the same numbers; an engine has ``timeout`` s."""
    try:
        ids = {uuid: number for number, uuid in hub.engines(timeout).items() if uuid in uuids}
        load = hub.queues(timeout) if ids else {}
    except NoAnswer:
        return SILENCE
    answering = hub.answering(ids, timeout)
    return RollCall(
        controller=True,
        engines={uuid: _state(number, answering.get(uuid), load.get(number, IDLE)) for uuid, number in ids.items()},
    )


def _state(number: int, said: Said | None, load: Load) -> EngineState:
    if said is None:
        return EngineState(number, "silent")
    return EngineState(number, "busy" if load.queue + load.tasks else "idle", said.task.seconds if said.task else 0.0)


def _answer() -> RollCall:
    patience = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    uuids = read(tuple[EngineUuid, ...], sys.stdin.read(), "standard input")
    return roll_call(installed(accounts.home(os.environ)), set(uuids), patience)


def main() -> int:
    """Be the program that the machine in charge runs; return its exit code."""
    return answered(_answer)
