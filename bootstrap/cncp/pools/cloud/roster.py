"""All instances of this account's, whichever cluster of his they are of, and those that no journal here knows.

Only what has our owner's tag is looked at: strangers' instances, and those of another installation, are never listed
and never ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import SOME_HOSTS, CncpError
from cncp.pools.base import Say
from cncp.pools.cloud import journal as journals
from cncp.pools.cloud import reclaim
from cncp.pools.cloud.journal import Journal
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import BATCH, CLUSTER, OWNER, Instance, Provider


class SomeCloudsFailed(CncpError):
    """Some clouds did not answer, or not all that was to be ended has; the rest was done."""

    exit_code = SOME_HOSTS

    def __init__(self, failures: Mapping[str, CncpError]) -> None:
        super().__init__(
            "; ".join(error.message for error in failures.values()), next(error.hint for error in failures.values())
        )


@dataclass(frozen=True)
class Entry:
    """An instance, where it is, and why nobody wants it: "" where somebody does."""

    instance: Instance
    where: str
    orphan: str = ""

    def hours(self, now: float) -> float:
        """Return for how many hours it has been there."""
        return max(0.0, now - self.instance.since) / 3600 if self.instance.since else 0.0

    def cost(self, now: float) -> float | None:
        """Return what it has cost so far, None where nobody told its price."""
        return None if self.instance.price is None else self.hours(now) * self.instance.price


def known(home: Path, owner: str) -> list[Journal]:
    """Return the journals that are here. Raises CncpError where one is damaged."""
    return [Journal.of(home, cluster, owner) for cluster in journals.clusters(home)]


def entries(provider: Provider, owner: str, kept: Sequence[Journal], clock: Clock) -> list[Entry]:
    """Return the owner's instances in a cloud, the oldest first."""
    listed = clock.asked(lambda: provider.instances({OWNER: owner}))
    there = sorted(
        (instance for instance in listed if instance.state != "gone"),
        key=lambda instance: (instance.since, instance.id),
    )
    return [Entry(instance, provider.where, judged(instance, kept)) for instance in there]


def judged(instance: Instance, kept: Iterable[Journal]) -> str:
    """Return why an instance is wanted by nobody; "" where it is, or where it is ending anyway."""
    if not instance.costs:
        return ""
    cluster = next((journal for journal in kept if journal.cluster == instance.tags.get(CLUSTER)), None)
    if cluster is None:
        return "its cluster is not known here"
    if instance.tags.get(BATCH) not in {batch.id for batch in cluster.open()}:
        return "its cluster has no such instance any more"
    if instance.state in ("stopped", "failed"):
        return f"it is {instance.state}"
    return ""


def sites(kept: Iterable[Journal], named: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return every place where something may be: of the journals, and those that a file names."""
    found = [*(site for journal in kept for site in journal.sites), *named]
    return list({tuple(sorted(site.items())): site for site in found}.values())


def sweep(provider: Provider, home: Path, owner: str, orphans: Sequence[Entry], clock: Clock, say: Say) -> None:
    """End orphans of a cloud, and what is beside them where their cluster has nothing else there. Raises CncpError."""
    for cluster in sorted({entry.instance.tags.get(CLUSTER, "") for entry in orphans}):
        journal = Journal.of(home, cluster, owner)
        ids = {entry.instance.id for entry in orphans if entry.instance.tags.get(CLUSTER) == cluster}
        reclaim.end(provider, journal, ids, clock)
        left = reclaim.census(provider, journal, clock)
        if not left and not clock.until(lambda: provider.tidy(cluster), reclaim.ENDS, reclaim.LOOK):  # noqa: B023
            raise CncpError(
                f"the security group of {cluster} is still in use in {provider.where}", "run this again in some minutes"
            )
        say(f"ended: {', '.join(sorted(ids))}")
