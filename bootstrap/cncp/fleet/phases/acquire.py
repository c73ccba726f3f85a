"""Hosts acquired from the pools of a cluster, before any is connected to: what the run goes by is known then."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from cncp.console import Console
from cncp.fleet.model import Fleet
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.pools import former_pools
from cncp.pools.base import with_hosts
from cncp.ssh.pool import at_once, tell


class Acquire(Phase):
    """Pools make, find or start what is wanted of them, all at the same time; the run goes on with their hosts."""

    name: ClassVar = "acquire"

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether there are pools."""
        return bool(run.fleet.concerned)

    def run(self, run: Run, report: Report) -> Run:
        """Acquire, and return the run over all hosts. Raises CncpError where a pool gives nothing, or nonsense."""
        former_pools.keep(run.fleet.concerned, run.fleet.home)
        fleet = acquired(run.fleet, run.console)
        report.limit = fleet.limit
        run.pool.specs = fleet.reached
        return replace(run, fleet=fleet)


def acquired(fleet: Fleet, console: Console) -> Fleet:
    """Return a fleet with the hosts that its pools give.

    Raises CncpError where a pool gives nothing, or what cannot be; what others gave meanwhile stays theirs, and is
    found there by the next run.
    """
    pools = {pool.name: pool for pool in fleet.concerned}
    given = at_once(pools, lambda pool: pool.acquire(lambda line: console.phase(f"[{pool.name}] {line}")))
    first, *others = (*given.failures, "")
    if first:
        tell({name: given.failures[name] for name in others if name}, console)
        raise given.failures[first]
    inventory = with_hosts(fleet.inventory, fleet.pools, given.results)
    limit = {host.name for host in fleet.limit}
    return replace(
        fleet,
        inventory=inventory,
        settings={host.name: fleet.settings.get(host.name) or fleet.choose(host) for host in inventory.everyone},
        limit=tuple(host for host in inventory.everyone if fleet.whole or host.name in limit),
    )
