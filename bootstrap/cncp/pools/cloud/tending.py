"""Pools that follow the work there is: looked at once a minute, by the service beside the controller.

An instance is ended only once no task goes to its engines any more, and they have none: one that got a task in between
stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cncp.pools import counts
from cncp.pools.base import Member, Say, State
from cncp.pools.cloud.cloud_pool import CloudPool, load_store
from cncp.pools.cloud.cloud_table import Bounds
from cncp.pools.cloud.idle_policy import Decision, Load, Memory, Policy, decide
from cncp.pools.cloud.registered import Work


def tend(pool: CloudPool, there: Work, clients: int, say: Say) -> bool:
    """Do what there is to do for a pool; return whether `cncp up` is to make more instances.

    ``there`` is what its hub says, ``clients`` how many are connected to its controller.
    """
    members = pool.observe()
    store = load_store(pool.name)
    found = replace(_seen(pool, members, there), clients=clients)
    decision, after = decide(_policy(pool), found, store.intact(pool.home) or Memory())
    store.save(pool.home, after)
    if decision.alone:
        _all(pool, members, there, decision, say)
        return False
    if decision.dead:
        say(f"{pool.name}: ending {', '.join(decision.dead)}: without engines for too long")
        pool.release(decision.dead, say)
    if decision.end:
        _fewer(pool, decision, say)
        return False
    if not decision.why:
        return False
    say(f"{pool.name}: {decision.count} instances from now on: {decision.why}")
    pool.scale(decision.count)
    counts.keep(pool)
    return True


def _policy(pool: CloudPool) -> Policy:
    bounds: Bounds = pool.wanted["instances"]
    # Fewer than in the file were asked for, or one number alone: that many are made, and end with the work.
    low = 0 if bounds.low == bounds.high else min(bounds.low, pool.count)
    return Policy(low, bounds.high, float(pool.wanted["idle"]), float(pool.wanted["idle_client"]))


def _seen(pool: CloudPool, members: Sequence[Member], there: Work) -> Load:
    joined = [member for member in members if member.state is State.JOINED]
    tasks = {member.name: there.tasks_of(member.name) for member in joined}
    engines = sum(member.engines for member in joined)
    coming = sum(member.state.coming for member in members)
    still = pool.present()
    stuck = [member.name for member in members if member.state.gone and member.name in still]
    return Load(pool.clock.now(), tasks, engines, coming, there.queued, stuck)


def _fewer(pool: CloudPool, decision: Decision, say: Say) -> None:
    """End instances that still compute nothing once no task goes to them any more."""
    busy = list(pool.drain(decision.end))
    if busy:
        pool.drain(busy, hold=False)
    going = [name for name in decision.end if name not in busy]
    if not going:
        return
    say(f"{pool.name}: ending {', '.join(going)}: {decision.why}")
    # Written down first: cut off here, `cncp up` does not make them anew.
    pool.scale(decision.count + len(busy))
    counts.keep(pool)
    pool.release(going, say)


def _all(pool: CloudPool, members: Sequence[Member], there: Work, decision: Decision, say: Say) -> None:
    """End all instances, which the next `cncp up` makes anew; what they compute nobody waits for."""
    still = pool.present()
    going = [member.name for member in members if member.name in still and member.state is not State.ENDED]
    if not going:
        return
    lost = sum(there.tasks_of(name) for name in going)
    say(f"{pool.name}: ending {', '.join(going)}: {decision.why}" + (f"; {lost} tasks lost" if lost else ""))
    pool.release(going, say)


def wanted(pools: Sequence[CloudPool]) -> list[CloudPool]:
    """Return those that follow the work there is, or that end when nobody is there."""
    return [pool for pool in pools if pool.tended and pool.gate.cluster]
