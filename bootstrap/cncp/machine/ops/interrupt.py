"""Interrupting what engines compute, on whatever machines: their variables stay."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from cncp.errors import CncpError, UsageError, duration
from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import Hub
from cncp.machine.node import Node
from cncp.machine.ops import repl


@dataclass(frozen=True)
class Interrupted:
    """An engine that had the signal, and for how many seconds its task had run, None where it had none."""

    name: str
    seconds: float | None

    def line(self) -> str:
        """Return it as a line."""
        activity = "was idle" if self.seconds is None else f"its task had run for {duration(self.seconds)}"
        return f"interrupted {self.name}: {activity}"


def interrupt(node: Node, names: str, *, everyone: bool) -> list[Interrupted]:
    """Interrupt engines of these names, with commas between; without any the one that is busy.

    Raises UsageError where none is named and it could be another, CncpError naming those that do not answer.
    """
    if names and everyone:
        raise UsageError("both engines and --all are given", "leave one of them out")
    with Hub(repl.client_file(node)) as hub:
        engines = {_name(node, number, uuid): uuid for number, uuid in hub.engines(timeout=5).items()}
        said = hub.answering(list(engines.values()), 2.0)
        tasks = {name: said[uuid].task for name, uuid in engines.items() if uuid in said}
        chosen = engines if everyone else _chosen(node, names, engines, [name for name in engines if tasks.get(name)])
        answered = hub.signal(list(chosen.values()), signal.SIGINT)
    silent = [name for name, uuid in chosen.items() if uuid not in answered or answered[uuid].status != "ok"]
    if silent:
        raise CncpError(
            f"{', '.join(silent)} did not answer", f"end it, its variables with it: cncp restart {silent[0]}"
        )
    return [Interrupted(name, task.seconds if (task := tasks.get(name)) else None) for name in chosen]


def _name(node: Node, number: int, uuid: str) -> str:
    """Return what `status` and we call an engine: those that others started by their ids."""
    place = slot(uuid)
    if place is None:
        return f"id {number}"
    return f"engine-{place[1]}" if place[0] == host_in(node.host) else f"{place[0]}/engine-{place[1]}"


def _chosen(node: Node, names: str, engines: Mapping[str, str], busy: list[str]) -> dict[str, str]:
    wanted = [name for name in names.split(",") if name]
    if not wanted and len(busy) == 1:
        wanted = busy
    if not wanted:
        hint = f"name one of {', '.join(busy)}, or all: cncp interrupt --all" if busy else "look at: cncp status"
        raise UsageError("interrupt needs an engine" if busy else "no engine is busy", hint)
    found = {}
    for name in wanted:
        if name in engines:
            found[name] = engines[name]
            continue
        place = repl.place_of(node, name)
        known = next((known for known, uuid in engines.items() if slot(uuid) == place), None)
        if known is None:
            raise CncpError(f"{name} is not registered with the controller", "look at: cncp status")
        found[known] = engines[known]
    return found
