"""The members of pools in the verbs: shown beside services, let go with them, and fewer when they are to be fewer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from cncp.errors import CncpError, plural
from cncp.fleet import registry
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.status import MEMBER, Status
from cncp.pools.base import Member, Pool, Say, State
from cncp.pools.former_pools import Former
from cncp.ssh.pool import Outcome, at_once


def observed(pools: Sequence[Pool]) -> Outcome[Sequence[Member]]:
    """Ask all pools at the same time; results and failures are by the name of the pool."""
    return at_once({pool.name: pool for pool in pools}, lambda pool: pool.observe())


def names(pools: Sequence[Pool]) -> set[str]:
    """Return the names of all members that can be seen."""
    return {member.name for members in observed(pools).results.values() for member in members}


def rows(pools: Sequence[Pool], hosts: Collection[str], failures: dict[str, CncpError]) -> list[Status]:
    """Return members that are none of ``hosts`` as services are shown: their state, for how long, and its cause."""
    seen = observed(pools)
    failures.update(seen.failures)
    return [_row(member) for members in seen.results.values() for member in members if member.name not in hosts]


def _row(member: Member) -> Status:
    cause = member.cause or (plural(member.engines, "engine") if member.engines else "")
    return Status(MEMBER, member.name, None, 0, member.state.value, 0.0, 0, 0.0, 0, cause, busy=round(member.age, 1))


def released(pools: Sequence[Pool], chosen: Callable[[str], bool], say: Say) -> Mapping[str, CncpError]:
    """Have all pools let go of the members ``chosen`` by name; return what failed, by the name of the pool."""

    def release(pool: Pool) -> None:
        there = [member.name for member in pool.observe() if member.state is not State.ENDED]
        pool.release([name for name in there if chosen(name)], say)

    return at_once({pool.name: pool for pool in pools}, release).failures


def discarded(pools: Sequence[Pool], say: Say) -> Outcome[set[str]]:
    """Have all pools leave nothing behind; return the names of members that are gone, by the name of the pool."""

    def discard(pool: Pool) -> set[str]:
        before = {member.name for member in pool.observe()}
        pool.discard(say)
        return before - {member.name for member in pool.observe() if member.state is not State.ENDED}

    return at_once({pool.name: pool for pool in pools}, discard)


def of_former(pools: Sequence[Former], seen: Outcome[Sequence[Member]]) -> list[Finding]:
    """Return which pools that are no longer in the file have members, or cannot be asked; ``seen`` is what of them."""
    counts = {pool: _there(seen.results[pool.name]) for pool in pools if pool.name in seen.results}
    return [
        *(
            Finding(
                f"the pool {pool.name} is no longer in the file, and has {plural(count, 'member')}",
                f"let go of what it has: {pool.remedy}",
            )
            for pool, count in counts.items()
            if count
        ),
        *(
            Finding(f"the pool {name}, which is no longer in the file: {error.message}", error.hint)
            for name, error in seen.failures.items()
        ),
    ]


def settled(pools: Sequence[Former], seen: Outcome[Sequence[Member]], say: Say) -> None:
    """Have pools without members, as was ``seen``, leave nothing behind, and be forgotten."""
    discarded([pool for pool in pools if pool.name in seen.results and not _there(seen.results[pool.name])], say)


def _there(members: Sequence[Member]) -> int:
    return sum(member.state is not State.ENDED for member in members)


def forget(home: Path, gone: Collection[str]) -> None:
    """Forget what was set up on members that are gone."""
    there = registry.load(home)
    if there.keys() & set(gone):
        registry.save(home, {name: placed for name, placed in there.items() if name not in gone})
