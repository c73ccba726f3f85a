"""Which engines, of whatever hosts, answer: asked at the controller's machine.

    venv/bin/python -I -Xutf8 -m cncp.remote engines [SECONDS]

Standard input holds a JSON list of engine uuids. The answer is a JSON object on standard output:
``controller`` (whether it answers) and ``engines``, by uuid ``id``, ``state`` (idle, busy, silent) and ``busy``,
for how many seconds it has computed its task.
With SECONDS it waits as long for all of them to be registered and to answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from cncp import accounts
from cncp.console import answered
from cncp.errors import CncpError
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files
from cncp.machine.node import Node, installed
from cncp.waiting import wait_until

SILENCE: dict[str, Any] = {"controller": False, "engines": {}}
"""What is known where no controller answers."""

_ANSWER = 1.0  # s that an engine has to answer


def roll_call(node: Node, uuids: Collection[str], patience: float = 0.0) -> dict[str, Any]:
    """Ask the controller of this machine about engines; wait up to ``patience`` seconds for all of them."""
    document = connection_files.client(node)
    if document is None:
        raise CncpError(f"there is no controller in {node.home}", "make one: cncp up")

    def all_answer(seen: Mapping[str, Any]) -> bool:
        return len([uuid for uuid, one in seen["engines"].items() if one["state"] != "silent"]) == len(uuids)

    with Hub(document, connection_files.local_address(node)) as hub:
        return wait_until(lambda: look(hub, uuids), patience, enough=all_answer)


def look(hub: Hub, uuids: Collection[str], timeout: float = _ANSWER) -> dict[str, Any]:
    """Ask once, by uuid, because engines of other hosts have the same numbers; an engine has ``timeout`` s."""
    try:
        ids = {uuid: number for number, uuid in hub.engines(timeout).items() if uuid in uuids}
        load = hub.queues(timeout) if ids else {}
    except NoAnswer:
        return SILENCE
    answering = hub.answering(ids, timeout)
    return {
        "controller": True,
        "engines": {
            uuid: {
                "id": number,
                "state": _state(uuid in answering, load.get(number, {})),
                "busy": _seconds(answering.get(uuid, {})),
            }
            for uuid, number in ids.items()
        },
    }


def _state(answers: bool, load: dict[str, int]) -> str:
    if not answers:
        return "silent"
    return "busy" if load.get("queue", 0) + load.get("tasks", 0) else "idle"


def _seconds(said: Mapping[str, Any]) -> float:
    """Return for how long an engine has computed its task, as it says itself; 0 where it says nothing of it."""
    seconds = (said.get("task") or {}).get("seconds")
    return max(0.0, float(seconds)) if isinstance(seconds, (int, float)) else 0.0


def _answer() -> dict[str, Any]:
    patience = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    return roll_call(installed(accounts.home(os.environ)), set(json.loads(sys.stdin.read())), patience)


def main() -> int:
    """Be the program that the machine in charge runs; return its exit code."""
    return answered(_answer)
