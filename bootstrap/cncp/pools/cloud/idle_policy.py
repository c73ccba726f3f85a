"""How many instances there is work for: a decision from what was seen, without a look at anything.

More are made when tasks have waited for a while although all engines compute; one is ended when its engines have had
nothing to do for as long as the pool says. Between the two nothing changes, so that they do not come and go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cncp.records import Record

WAITS = 60.0
"""Seconds that tasks have to wait for engines before more are made: an instance takes that long to come."""


@dataclass(frozen=True)
class Policy:
    """How many instances there are to be, at least and at most, and for how many s one may have nothing to do."""

    low: int
    high: int
    idle: float


@dataclass(frozen=True)
class Load:
    """What is seen at a moment, ``now``, in s since the epoch.

    ``tasks`` are those that the engines of each instance compute or have before them, by its name; who has not joined
    is one of ``coming``, and not idle. ``engines`` are those of all instances, ``queued`` tasks that no engine has.
    """

    now: float
    tasks: Mapping[str, int]
    engines: int = 0
    coming: int = 0
    queued: int = 0


@dataclass(frozen=True)
class Memory(Record):
    """What has to be remembered from one look to the next: since when who is idle, and tasks wait; 0 where none do."""

    idle: Mapping[str, float] = field(default_factory=dict)
    waiting: float = 0.0


@dataclass(frozen=True)
class Decision:
    """How many instances are wanted, which are to be ended, and why in words; "" where nothing is to be done."""

    count: int
    end: tuple[str, ...] = ()
    why: str = ""


def decide(policy: Policy, load: Load, before: Memory) -> tuple[Decision, Memory]:
    """Return what is to be done now, and what to remember."""
    there = len(load.tasks)
    busy = load.queued > 0 and all(load.tasks.values())
    after = Memory(
        {name: before.idle.get(name) or load.now for name, tasks in load.tasks.items() if not tasks},
        (before.waiting or load.now) if busy else 0.0,
    )
    if there + load.coming < policy.low:
        return Decision(policy.low, why=f"there are to be {policy.low}"), after
    if busy and load.now - after.waiting >= WAITS:
        each = max(1.0, load.engines / there) if there else 1.0
        # Those on their way take some of what waits.
        wanted = there + max(load.coming, math.ceil(load.queued / each))
        if (count := min(policy.high, wanted)) > there + load.coming:
            why = f"{load.queued} tasks wait for engines"
            return Decision(count, why=why), replace(after, waiting=load.now)
    if load.queued:
        return Decision(there + load.coming), after
    idle = sorted((since, name) for name, since in after.idle.items() if load.now - since >= policy.idle)
    end = tuple(name for _, name in idle[: max(0, there + load.coming - policy.low)])
    if not end:
        return Decision(there + load.coming), after
    why = f"no work for {load.now - idle[0][0]:.0f} s"
    return Decision(there + load.coming - len(end), end, why), after
