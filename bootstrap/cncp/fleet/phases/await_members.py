"""Waiting for members that come by themselves, and a last look at those that ssh was to reach."""

from __future__ import annotations

from typing import ClassVar

from cncp.errors import CncpError
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.pools.base import Member, Pool, State
from cncp.ssh.pool import at_once
from cncp.waiting import wait_until

_LOOK = 1.0  # s from one look at a pool to the next

_RETURNS = 120.0
"""Seconds in which engines of who has joined answer again after new keys: they ask a store for these once a minute."""


class AwaitMembers(Phase):
    """All pools are observed until nobody is coming any more, or has had the time for that."""

    name: ClassVar = "await-members"

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether there are pools."""
        return bool(run.fleet.concerned)

    def run(self, run: Run, report: Report) -> None:
        """Note who has joined, and why others have not."""
        concerned = {pool.name: pool for pool in run.fleet.concerned if pool.name not in report.failures}
        seen = at_once(concerned, lambda pool: _awaited(pool, run))
        report.fail(seen.failures)
        hosts = {host.name for host in run.fleet.inventory.everyone}
        for members in seen.results.values():
            report.members.update({member.name: member for member in members if member.name not in hosts})
        report.fail({name: _failure(member) for name, member in report.members.items() if not _settled(member)})


def _settled(member: Member) -> bool:
    # One that was let go, or ends as it should, is none to complain of.
    return member.state in (State.JOINED, State.ENDED)


def _failure(member: Member) -> CncpError:
    hint = "cncp status shows it; cncp up goes on with it" if member.state.coming else "look at: cncp status"
    return CncpError(f"it is {member.state.value}{member.cause and f': {member.cause}'}", hint)


def _awaited(pool: Pool, run: Run) -> list[Member]:
    """Return the members of a pool once none is coming, telling what becomes of each. Raises CncpError."""
    told: dict[str, State] = {}

    def look() -> list[Member]:
        found = list(pool.observe())
        for member in found:
            if told.setdefault(member.name, member.state) is not member.state:
                run.say(member.name)(member.state.value + (f": {member.cause}" if member.cause else ""))
                told[member.name] = member.state
        return found

    def awaited(patience: float, *states: State) -> list[Member]:
        return wait_until(look, patience, _LOOK, lambda found: not {member.state for member in found} & {*states})

    found = awaited(pool.patience, *(state for state in State if state.coming))
    lost = any(member.state is State.LOST for member in found)
    return awaited(min(pool.patience, _RETURNS), State.LOST) if lost else found
