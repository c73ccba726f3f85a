"""How many instances there is work for: a decision from what was seen, without a look at anything.

More are made when tasks have waited for a while although all engines compute; one is ended when its engines have had
nothing to do for as long as the pool says, all when nobody was connected for so long. Between these nothing changes, so
that they do not come and go.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from cncp.records import Record

WAITS = 60.0
"""Seconds that tasks have to wait for engines before more are made: an instance takes that long to come."""

RETRY = 900.0
"""Seconds until what did not come is given up, and tried again: each try costs, and may fail as the one before."""


@dataclass(frozen=True)
class Policy:
    """How many instances there are to be, at least and at most, and when they end.

    One ends that has nothing to do for ``idle`` s, all when no client was there for ``alone`` s; 0 is never. Without
    ``idle`` the work does not count at all.
    """

    low: int
    high: int
    idle: float
    alone: float = 0.0


@dataclass(frozen=True)
class Load:
    """What is seen at a moment, ``now``, in s since the epoch.

    ``tasks`` are those that the engines of each instance compute or have before them, by its name; who has not joined
    is one of ``coming``, and not idle; ``stuck`` are those that are there and will not come, or have no engines any
    more. ``engines`` are those of all instances, ``queued`` tasks that no engine has, ``clients`` are connected ones.
    """

    now: float
    tasks: Mapping[str, int]
    engines: int = 0
    coming: int = 0
    queued: int = 0
    stuck: Collection[str] = ()
    clients: int = 1


@dataclass(frozen=True)
class Memory(Record):
    """What has to be remembered from one look to the next: since when, in s since the epoch, or 0 where it is not so.

    ``idle`` and ``stuck`` are by instance; tasks wait since ``waiting``, nobody is connected since ``alone``;
    ``queued`` is how many waited. As many as ``wanted`` were to be there when more were last ``tried``.
    """

    idle: Mapping[str, float] = field(default_factory=dict)
    waiting: float = 0.0
    stuck: Mapping[str, float] = field(default_factory=dict)
    alone: float = 0.0
    queued: int = 0
    wanted: int = 0
    tried: float = 0.0


@dataclass(frozen=True)
class Decision:
    """How many instances are wanted, which are to be ended, and why in words; "" where nothing is to be done.

    ``dead`` are to be ended as well, and leave a place for others. ``alone`` has all end, whatever they compute.
    """

    count: int
    end: tuple[str, ...] = ()
    why: str = ""
    dead: tuple[str, ...] = ()
    alone: bool = False


def decide(policy: Policy, load: Load, before: Memory) -> tuple[Decision, Memory]:
    """Return what is to be done now, and what to remember."""
    now, there = load.now, len(load.tasks)
    stuck = {name: before.stuck.get(name) or now for name in load.stuck}
    dead = tuple(name for name, since in stuck.items() if now - since >= RETRY)
    # For as long as it is not given up, one that does not come is not made again.
    here = there + load.coming + len(stuck) - len(dead)
    busy = load.queued > 0 and all(load.tasks.values())
    after = replace(
        before,
        idle={name: before.idle.get(name) or now for name, tasks in load.tasks.items() if not tasks},
        waiting=(before.waiting or now) if busy else 0.0,
        stuck=stuck,
        alone=0.0 if load.clients else before.alone or now,
        queued=load.queued,
        wanted=before.wanted if here < before.wanted else 0,
    )
    if policy.alone and after.alone and now - after.alone >= policy.alone:
        return Decision(0, why=f"no client for {now - after.alone:.0f} s", alone=True), after
    if not policy.idle:
        return Decision(here), after
    per_instance = max(1.0, load.engines / there) if there else 1.0
    needed = math.ceil(load.queued / per_instance)
    if count := _more(policy, load, before, after, here, needed):
        why = f"there are to be {policy.low}" if here < policy.low else f"{load.queued} tasks wait for engines"
        begun = replace(after, waiting=now if busy else 0.0, wanted=count, tried=now)
        return Decision(count, why=why, dead=dead), begun
    idle = sorted((since, name) for name, since in after.idle.items() if now - since >= policy.idle)
    # As many stay as what waits could be for, or they would be made again.
    spare = max(0, min(here - policy.low, len(after.idle) - needed))
    end = tuple(name for _, name in idle[:spare])
    why = f"no work for {now - idle[0][0]:.0f} s" if end else ""
    return Decision(here - len(end), end, why, dead), after


def _more(policy: Policy, load: Load, before: Memory, after: Memory, here: int, needed: int) -> int:
    """Return how many instances there are to be, 0 where no more are to be made."""
    if after.wanted and load.now - before.tried < RETRY:
        # The last try did not bring them.
        return 0
    if here < policy.low:
        return policy.low
    waits = after.waiting and load.now - after.waiting >= WAITS
    # What gets less that fast is done before another instance is there.
    if not waits or load.queued * 2 <= before.queued:
        return 0
    # Those on their way take some of what waits.
    count = min(policy.high, len(load.tasks) + max(here - len(load.tasks), needed))
    return count if count > here else 0
