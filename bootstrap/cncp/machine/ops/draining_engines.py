"""Engines of this machine get no task for a while, as it is to be something else: what a netbooted node does.

``python -m cncp.remote work drain`` returns once they have none, ``work resume`` has them get tasks again. Where no
controller answers nobody gives them any.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Collection, Mapping

from cncp import accounts
from cncp.console import Console
from cncp.errors import CncpError
from cncp.ipp.hub import IDLE, Hub, NoAnswer, asked
from cncp.machine import connection_files
from cncp.machine.node import Node, installed
from cncp.machine.services.processes import running
from cncp.waiting import wait_until

HOLD = 300.0
"""Seconds without a task after the last look: longer than a machine takes to end its engines, and not for ever."""

_LOOK = 0.5  # s
_UNANSWERED = 20  # looks without an answer until there is no controller any more


def drain(node: Node, seconds: float = math.inf) -> list[str]:
    """Return the engines that still compute after so many s, with no new tasks for any."""
    uuids = {process.uuid: name for name, process in running(node).items() if process.uuid}
    silent = 0

    def look() -> list[str]:
        nonlocal silent
        found = asked(connection_files.engine(node), lambda hub: _at_work(hub, uuids, HOLD))
        silent = silent + 1 if found is None else 0
        if found is None:
            return [] if silent >= _UNANSWERED else list(uuids.values())
        return [uuids[uuid] for uuid in found]

    return wait_until(look, seconds, _LOOK, lambda working: not working) if uuids else []


def resume(node: Node) -> None:
    """Have the engines get tasks again, as far as a controller answers."""
    uuids = [process.uuid for process in running(node).values() if process.uuid]
    if uuids:
        asked(connection_files.engine(node), lambda hub: _at_work(hub, uuids, 0.0))


def _at_work(hub: Hub, uuids: Collection[str], seconds: float) -> list[str]:
    """Have engines get no task for so many s; return those that have some, given by the scheduler or directly."""
    given: Mapping[str, int] = {}
    # A scheduler that cannot leave engines out says nothing: those at work are waited for all the same.
    with contextlib.suppress(NoAnswer):
        given = hub.drain(list(uuids), seconds)
    loads = hub.queues()
    numbers = {uuid: number for number, uuid in hub.engines().items()}
    working = {uuid: loads.get(numbers[uuid], IDLE) for uuid in uuids if uuid in numbers}
    return [uuid for uuid, load in working.items() if given.get(uuid) or load.queue or load.tasks]


def main() -> int:
    """Do it on the machine of this account; return the exit code."""
    console = Console()
    try:
        node = installed(accounts.home(os.environ))
        (drain if sys.argv[1:] == ["drain"] else resume)(node)
    except (CncpError, OSError) as error:
        return console.error(error)
    return 0
