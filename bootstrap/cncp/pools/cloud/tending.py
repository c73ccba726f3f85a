"""Pools that follow the work there is: looked at once a minute, by the service beside the controller.

An instance is ended only once its engines are taken out of the hub's table, so that no task goes to one in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from cncp.ipp.hub import Hub
from cncp.pools import counts
from cncp.pools.base import Say, State
from cncp.pools.cloud import registered
from cncp.pools.cloud.cloud_pool import CloudPool, load_store
from cncp.pools.cloud.cloud_table import Bounds
from cncp.pools.cloud.idle_policy import Decision, Load, Memory, Policy, decide
from cncp.pools.cloud.registered import Work, work


def tend(pool: CloudPool, hub: Hub, say: Say) -> bool:
    """Do what there is to do for a pool; return whether `cncp up` is to make more instances."""
    found = _seen(pool, work(hub))
    bounds: Bounds = pool.wanted["instances"]
    store = load_store(pool.name)
    before = store.intact(pool.home) or Memory()
    decision, after = decide(Policy(bounds.low, bounds.high, float(pool.wanted["idle"])), found, before)
    store.save(pool.home, after)
    if decision.end:
        return _fewer(pool, hub, decision, say)
    if decision.count <= len(found.tasks) + found.coming:
        return False
    say(f"{pool.name}: {decision.count} instances from now on: {decision.why}")
    pool.scale(decision.count)
    counts.keep(pool)
    return True


def _seen(pool: CloudPool, there: Work) -> Load:
    members = pool.observe()
    joined = [member for member in members if member.state is State.JOINED]
    tasks = {member.name: there.tasks_of(member.name) for member in joined}
    engines = sum(member.engines for member in joined)
    coming = sum(member.state.coming for member in members)
    return Load(pool.clock.now(), tasks, engines, coming, there.queued)


def _fewer(pool: CloudPool, hub: Hub, decision: Decision, say: Say) -> bool:
    """End instances, once no task goes to their engines any more."""
    registered.unregister(hub, decision.end)
    say(f"{pool.name}: ending {', '.join(decision.end)}: {decision.why}")
    # Written down first: cut off here, `cncp up` does not make them anew.
    pool.scale(decision.count)
    counts.keep(pool)
    pool.release(decision.end, say)
    return False


def wanted(pools: Sequence[CloudPool]) -> list[CloudPool]:
    """Return those that follow the work there is."""
    return [pool for pool in pools if pool.wanted["idle"] and pool.gate.cluster]
