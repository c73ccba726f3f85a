"""Which engines the hub has, of which instances, and what they have to do: whose one is, its uuid says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import Hub, Load, NoAnswer

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
    return [engine for host, pairs in there.items() if is_host(host, instance) for engine in pairs]


@dataclass(frozen=True)
class Work:
    """What the hub says: each host's engines with ids and uuids, the tasks of each engine, and how many wait.

    ``answered`` is whether it says anything.
    """

    engines: Engines = field(default_factory=dict)
    tasks: Mapping[int, int] = field(default_factory=dict)
    queued: int = 0
    answered: bool = False

    def tasks_of(self, instance: str) -> int:
        """Return how many tasks the engines of an instance have."""
        return sum(self.tasks.get(number, 0) for number, _ in of(instance, self.engines))


def work(hub: Hub) -> Work:
    """Ask a hub. Raises NoAnswer."""
    there, said = engines(hub), hub.work()
    return Work(there, _tasks(said.loads), said.unassigned, True)


def _tasks(loads: Mapping[int, Load]) -> dict[int, int]:
    return {number: load.queue + load.tasks for number, load in loads.items()}


def drain(hub: Hub, instances: Iterable[str], seconds: float) -> list[str]:
    """Have no new task go to the engines of instances for so many s; return which still compute. Raises NoAnswer.

    0 has them get tasks again. A hub whose scheduler cannot do that only says who computes.
    """
    there = engines(hub)
    mine = {instance: of(instance, there) for instance in instances}
    uuids = [uuid for pairs in mine.values() for _, uuid in pairs]
    given: Mapping[str, int] = {}
    if uuids:
        with contextlib.suppress(NoAnswer):
            given = hub.drain(uuids, seconds)
    tasks = _tasks(hub.work().loads)
    return [name for name, pairs in mine.items() if any(given.get(uuid) or tasks.get(number) for number, uuid in pairs)]


def unregister(hub: Hub, instances: Iterable[str]) -> None:
    """Tell the hub that the engines of instances are gone, rather than have it wait for them. Raises NoAnswer.

    One that still answers, as its cloud was fast to say that it is gone, would register anew and get tasks: it stays
    drained until it falls silent.
    """
    there = engines(hub)
    going = {uuid: number for instance in instances for number, uuid in of(instance, there)}
    answering = hub.answering(going) if going else {}
    for uuid in going.keys() - answering.keys():
        hub.unregister(going[uuid], uuid)
