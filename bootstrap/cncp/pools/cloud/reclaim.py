"""Instances found again, and ended: by id, never those of strangers, and not said to be gone before they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from cncp.errors import CncpError, plural
from cncp.pools.base import Say
from cncp.pools.cloud.journal import Batch, Journal
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import BATCH, CLUSTER, Instance, Provider

GRACE = 60.0
"""Seconds after which a cloud lists what it has made. EC2 says no number; reports are of seconds."""

ENDS = 600.0
"""Seconds that instances may take to be gone: EC2 waits some minutes for a system that does not shut down."""

LOOK = 2.0
"""Seconds between two looks at a cloud."""

Connect = Callable[[Mapping[str, str]], Provider | None]
"""Reaches the cloud of a batch's site again, whatever the cluster's file says by now; None where it is another's."""


def settled(provider: Provider, journal: Journal, batch: Batch, clock: Clock) -> Sequence[Instance]:
    """Find out what became of a batch that is only PLANNED: return its instances, and write them down."""
    tags = {CLUSTER: journal.cluster, BATCH: batch.id}
    found: list[Instance] = []

    def look() -> bool:
        found[:] = clock.asked(lambda: provider.instances(tags))
        return len(found) >= batch.count

    clock.until(look, max(0.0, batch.planned + GRACE - clock.now()), LOOK)
    if found:
        journal.note(replace(batch, stage="REQUESTED", ids=tuple(instance.id for instance in found)))
    else:
        journal.note(replace(batch, stage="CLOSED", cause="nothing was made"))
    return found


def census(provider: Provider, journal: Journal, clock: Clock) -> dict[str, Instance]:
    """Return the cluster's instances at a provider by id: all that it lists, and those that it will list by and by."""
    found = {name: _young(name, batch) for batch in journal.open() for name in batch.ids if _is_young(batch, clock)}
    found.update(
        (instance.id, instance) for instance in clock.asked(lambda: provider.instances({CLUSTER: journal.cluster}))
    )
    return {name: instance for name, instance in found.items() if instance.state != "gone"}


def _is_young(batch: Batch, clock: Clock) -> bool:
    # Those of later stages were listed already.
    return batch.stage == "REQUESTED" and clock.now() < batch.planned + GRACE


def _young(name: str, batch: Batch) -> Instance:
    return Instance(name, name, "requested", since=batch.planned, zone=batch.zone, tags={BATCH: batch.id})


def end(provider: Provider, journal: Journal, ids: Collection[str], clock: Clock) -> None:
    """End instances of the journal's cluster, and wait until they are gone.

    Raises CncpError where one is not of this cluster, before anything is done, and where they take too long.
    """
    there = census(provider, journal, clock)
    strangers = sorted(set(ids) - journal.ids - there.keys())
    if strangers:
        raise CncpError(f"{strangers[0]} is no instance of this cluster", "see which are: cncp cloud.list")
    left = set(ids)

    def look() -> bool:
        # One that a cloud has named and does not list yet may be unknown to `delete` as well: it is asked again.
        there = census(provider, journal, clock)
        left.intersection_update(there)
        running = [name for name in sorted(left) if there[name].costs]
        if running:
            clock.asked(lambda: provider.delete(running))
        return not left

    done = clock.until(look, ENDS, LOOK)
    journal.without(set(ids) - left)
    if not done:
        named = ", ".join(sorted(left))
        raise CncpError(
            f"{plural(len(left), 'instance')} of {provider.where} are asked to end but not gone: {named}",
            "look at them with the cloud's own tools, then run this again",
        )


def close(journal: Journal, pool: str, connect: Connect, clock: Clock, say: Say) -> None:
    """End all instances of a pool, "" for all pools, in each cloud that ``connect`` knows, and what is beside the last.

    What a call before this one left unsettled is looked for. A cloud that does not answer does not keep the others
    from being asked. Raises CncpError in the end where something may be left.
    """
    failed: list[CncpError] = []
    for site in journal.sites:
        try:
            if (provider := connect(site)) is not None:
                _leave(journal, pool, site, provider, clock, say)
        except CncpError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _leave(journal: Journal, pool: str, site: Mapping[str, str], provider: Provider, clock: Clock, say: Say) -> None:
    for batch in journal.open(pool):
        if batch.site == site and batch.stage == "PLANNED":
            settled(provider, journal, batch, clock)
    ids = {name for batch in journal.open(pool) if batch.site == site for name in batch.ids}
    last = all(batch.site != site or pool in ("", batch.pool) for batch in journal.open())
    if last:
        ids |= census(provider, journal, clock).keys()
    if ids:
        say(f"ending {plural(len(ids), 'instance')} of {provider.where}")
        end(provider, journal, ids, clock)
    if last and not clock.until(lambda: provider.tidy(journal.cluster), ENDS, LOOK):
        raise CncpError(
            f"what was made beside the instances of {provider.where} cannot be taken away yet",
            "run this again in some minutes",
        )
    if last:
        journal.note_left(site)
