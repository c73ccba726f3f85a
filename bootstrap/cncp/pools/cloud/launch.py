"""Instances made: in batches, zone after zone, and never twice, whatever ended the command before this one.

Each call is in the journal before it is made. What was cut off, or got no clear answer, is looked for by its tag for
as long as a cloud may take to list what it has made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cncp.errors import CncpError, plural
from cncp.pools.base import Say
from cncp.pools.cloud.journal import Batch, Journal
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import (
    AT_ONCE,
    BATCH,
    CLUSTER,
    EXPIRES,
    OWNER,
    PRICE,
    Instance,
    NoCapacity,
    Order,
    Provider,
    Unsure,
)
from cncp.pools.cloud.reclaim import LOOK, census, end, settled

STARTS = 300.0
"""Seconds that an instance may take until its cloud says that it runs."""

_TELLS = 10.0  # s from when nova says that a server has failed until it says why


@dataclass(frozen=True)
class Boot:
    """What the instances of one batch are given: its id, how they boot, and until when they can join."""

    batch: str
    user_data: str
    deadline: float


@dataclass(frozen=True)
class Wish:
    """What is wanted of a pool: how many more, as what, and where it may be had.

    ``spot`` is "no", "yes" or "fallback"; ``price`` what an hour of one costs, for reports. ``boot`` is called for each
    batch, and ``drop`` for one that came to nothing. ``made_of`` is noted of each.
    """

    pool: str
    spot: str
    price: float | None
    boot: Callable[[], Boot]
    drop: Callable[[str], None] = lambda _: None
    made_of: Mapping[str, str] = field(default_factory=dict)


class Launcher:
    """Makes instances of one pool."""

    def __init__(self, provider: Provider, journal: Journal, wish: Wish, clock: Clock, say: Say) -> None:
        self._provider, self._journal, self._wish, self._clock, self._say = provider, journal, wish, clock, say

    def bring(self, count: int) -> list[Instance]:
        """Make so many more instances; return those that were made. Raises CncpError where none could be.

        With no room in the quota for all of them nothing is made. Zones without capacity are passed over; how many are
        missing in the end, and why, is in the journal.
        """
        self._clock.asked(self._provider.limits).insist(count, self._provider.where)
        made: list[Instance] = []
        cause: CncpError | None = None
        for zone, spot in self._tries():
            final = None
            try:
                for size in _sizes(count - len(made)):
                    made += self._order(size, zone, spot=spot)
            except NoCapacity as error:
                cause = error
                self._say(f"{_place(zone, spot) or 'the cloud'}: {error.message}")
            except CncpError as error:
                cause = final = error
            made, failed = self._started(made)
            cause = failed or cause
            if final or len(made) >= count:
                break
        return self._told(count, made, cause)

    def _told(self, count: int, made: list[Instance], cause: CncpError | None) -> list[Instance]:
        missing = count - len(made)
        why = cause.message if cause else "the cloud made fewer than it was asked for"
        self._journal.note_short(self._wish.pool, f"{missing} of {count} could not be had: {why}" if missing else "")
        if missing and not made:
            raise cause or CncpError(why, "try another zone or flavor, or later")
        return made

    def _tries(self) -> Iterator[tuple[str, bool]]:
        for spot in {"no": (False,), "yes": (True,), "fallback": (True, False)}[self._wish.spot]:
            for zone in self._provider.zones or ("",):
                yield zone, spot

    def _order(self, count: int, zone: str, *, spot: bool) -> Sequence[Instance]:
        """Make a batch. Raises CncpError."""
        boot, wish = self._wish.boot(), self._wish
        site = self._provider.site
        batch = Batch(boot.batch, wish.pool, site, count, 0.0, boot.deadline, zone, spot, made_of=wish.made_of)
        order = Order(batch.id, count, boot.user_data, self._tags(batch), zone, spot, token=batch.id)
        self._say(f"{plural(count, 'instance')} requested{' in ' + place if (place := _place(zone, spot)) else ''}")

        def call() -> Sequence[Instance]:
            self._journal.note(replace(batch, planned=self._clock.now()))
            return self._provider.create(order)

        try:
            made = self._clock.patiently(call)
        except Unsure as error:
            self._say(f"{error.message}; looking for what was made")
            made = settled(self._provider, self._journal, self._journal.batch(batch.id), self._clock)
            if not made:
                wish.drop(batch.id)
                raise
            return made
        except CncpError as error:
            self._close(batch, error.message)
            raise
        if not made:
            self._close(batch, "the cloud made none")
        else:
            ids = tuple(instance.id for instance in made)
            self._journal.note(replace(batch, planned=self._clock.now(), stage="REQUESTED", ids=ids))
        return made

    def _close(self, batch: Batch, cause: str) -> None:
        self._journal.note(replace(batch, planned=self._clock.now(), stage="CLOSED", cause=cause))
        self._wish.drop(batch.id)

    def _tags(self, batch: Batch) -> dict[str, str]:
        return {
            CLUSTER: self._journal.cluster,
            BATCH: batch.id,
            OWNER: self._journal.owner,
            EXPIRES: str(int(batch.deadline)),
            **({} if self._wish.price is None else {PRICE: f"{self._wish.price:g}"}),
        }

    def _started(self, made: Sequence[Instance]) -> tuple[list[Instance], CncpError | None]:
        """Wait until all run; return those that do or still may, and why others do not, which are ended."""
        now = {instance.id: instance for instance in made}

        def look() -> bool:
            there = census(self._provider, self._journal, self._clock)
            now.update({name: there.get(name) or replace(now[name], state="gone") for name in now})
            return all(instance.state != "requested" for instance in now.values())

        def told() -> bool:
            look()
            return all(instance.cause for instance in now.values() if instance.state == "failed")

        if made:
            self._clock.until(look, STARTS, LOOK)
            self._clock.until(told, _TELLS, LOOK)
        failed = [instance for instance in now.values() if instance.state not in ("requested", "running")]
        # From here on what is not listed is gone.
        listed = {instance.id for instance in now.values() if instance.state != "requested"}
        for batch in self._journal.open(self._wish.pool):
            if batch.stage == "REQUESTED" and listed.issuperset(batch.ids):
                self._journal.note(replace(batch, stage="RUNNING"))
        if not failed:
            return list(now.values()), None
        causes = sorted({instance.cause or f"it is {instance.state}" for instance in failed})
        self._say(f"{plural(len(failed), 'instance')} failed: {'; '.join(causes)}")
        end(self._provider, self._journal, {instance.id for instance in failed}, self._clock)
        alive = [instance for instance in now.values() if instance not in failed]
        return alive, CncpError(causes[0], "try another zone or flavor, or later")


def _sizes(count: int) -> Iterator[int]:
    while count > 0:
        yield min(AT_ONCE, count)
        count -= AT_ONCE


def _place(zone: str, spot: bool) -> str:
    return " ".join(word for word in (zone, "spot" if spot else "") if word)
