"""Which engines the hub has, of which instances, and what they have to do: whose one is, its uuid says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import Hub, NoAnswer
from cncp.shape import Misfit, made

Engines = Mapping[str, Sequence[tuple[int, str]]]
"""Ids and uuids of engines, by the host that the uuids name."""


def engines(hub: Hub) -> Engines:
    """Ask a hub. Raises NoAnswer."""
    found: dict[str, list[tuple[int, str]]] = {}
    for number, uuid in hub.engines().items():
        if place := slot(uuid):
            found.setdefault(place[0], []).append((number, uuid))
    return found


def is_host(host: str, instance: str) -> bool:
    """Tell whether a host, as engines' uuids name it, is an instance of this name; some have their domain's as well."""
    name = host_in(instance)
    return host == name or host.startswith(f"{name}-")


def of(instance: str, there: Engines) -> list[tuple[int, str]]:
    """Return the engines of an instance."""
    return [engine for host, each in there.items() if is_host(host, instance) for engine in each]


@dataclass(frozen=True)
class Work:
    """What the hub says: each host's engines with ids and uuids, the tasks of each engine, and how many wait."""

    engines: Engines = field(default_factory=dict)
    tasks: Mapping[int, int] = field(default_factory=dict)
    queued: int = 0

    def tasks_of(self, instance: str) -> int:
        """Return how many tasks the engines of an instance have."""
        return sum(self.tasks.get(number, 0) for number, _ in of(instance, self.engines))


def work(hub: Hub) -> Work:
    """Ask a hub. Raises NoAnswer."""
    there = engines(hub)
    return Work(there, *_counted(hub.request("queue_request", {"targets": None})))


def _counted(said: Mapping[str, Any]) -> tuple[dict[int, int], int]:
    """Return the tasks of each engine, and how many no engine has. Raises NoAnswer on what is neither."""
    try:
        counts = {int(key): made({"queue": int, "tasks": int}, one) for key, one in said.items() if key.isdigit()}
        queued = made(int, said.get("unassigned", 0))
    except Misfit as error:
        raise NoAnswer(f"the controller says of its queues: {error}", "look at: cncp logs controller") from None
    return {number: one["queue"] + one["tasks"] for number, one in counts.items()}, queued


def unregister(hub: Hub, instances: Iterable[str]) -> None:
    """Tell the hub that the engines of instances are gone: no task goes to them any more. Raises NoAnswer."""
    there = engines(hub)
    for instance in instances:
        for number, uuid in of(instance, there):
            hub.unregister(number, uuid)
