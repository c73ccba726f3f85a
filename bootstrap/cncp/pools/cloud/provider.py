"""What every cloud is asked for, and the words in which it answers: instances, limits, and four kinds of refusal.

A provider knows nothing of clusters. What it made is found again by tags, and ended by id alone. Clouds of other
packages are pools like any others, which give `CloudPool` (``cloud_pool.py``) a provider of theirs.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from cncp.errors import CncpError, NotInstalled, plural

CLUSTER, BATCH, OWNER, EXPIRES = "cncp-cluster", "cncp-batch", "cncp-owner", "cncp-expires"
"""Tags of whatever we make in a cloud; EXPIRES is in s since the epoch: by then it has joined, or ends itself."""

PRICE = "cncp-price"
"""A tag as well: what an hour of an instance costs, as the pool's table says."""

AT_ONCE = 20
"""Instances of one call at most, as older systems had it: one that fails as a whole is no loss of all."""

AGAIN = "run this again: it goes on from where it was"
"""What to do where a cloud did not say how a call ended, or is not ready for the next."""

LARGEST_USER_DATA = 16_384
"""Bytes of user-data that every cloud takes: EC2's limit, which is the smallest."""

State = Literal["requested", "running", "stopped", "ending", "gone", "failed"]
"""``stopped`` is an instance that has switched itself off and is still there; ``gone`` may be listed for a while."""


class NoCapacity(CncpError):
    """The zone has no such instances now; another may. Nothing was made."""


class QuotaExceeded(CncpError):
    """The account may have no more of them. Nothing was made."""


class Throttled(CncpError):
    """Too many calls; nothing was done. ``after`` is how many s the cloud asks to wait, 0 where it does not say."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message, "wait some minutes, then run this again: it goes on from where it was")
        self.after = after


class Unsure(CncpError):
    """No clear answer, as after a time-out: it may have been done, or may still be."""


@dataclass(frozen=True)
class Template:
    """What instances are made as: names and ids are the cloud's.

    ``zones`` are tried in turn; ``groups`` are security groups that they have besides ours. ``controller_group`` is the
    security group of the controller's machine, whose ``ports`` (LOW-HIGH) are opened to the instances.
    """

    image: str = ""
    flavor: str = ""
    zones: tuple[str, ...] = ("",)
    network: str = ""
    key: str = ""
    groups: tuple[str, ...] = ()
    spot: bool = False
    controller_group: str = ""
    ports: str = ""


@dataclass(frozen=True)
class Instance:
    """An instance as its cloud sees it now.

    ``cause`` is why it is in that state, where the cloud says; ``since`` when it was made, in s since the epoch;
    ``price`` what an hour costs in the cloud's currency, None where nobody told.
    """

    id: str
    name: str
    state: State
    cause: str = ""
    since: float = 0.0
    address: str = ""
    zone: str = ""
    flavor: str = ""
    price: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def costs(self) -> bool:
        """Whether it is there and has to be ended."""
        return self.state not in ("ending", "gone")


@dataclass(frozen=True)
class Order:
    """A call that makes instances: how many, of which batch and try, where.

    ``token`` is another for each try of a batch: a cloud that knows it makes no instances twice.
    ``zone`` is "" where the cloud is to choose.
    """

    batch: str
    count: int
    user_data: str = field(repr=False)
    tags: Mapping[str, str]
    zone: str = ""
    spot: bool = False
    token: str = ""


@dataclass(frozen=True)
class Limits:
    """What the account may still have, and what an instance takes of it, by the names of what is limited.

    What a cloud does not tell is in neither.
    """

    free: Mapping[str, int] = field(default_factory=dict)
    per_instance: Mapping[str, int] = field(default_factory=dict)

    @property
    def room(self) -> int | None:
        """How many instances there is room for, None where nobody knows."""
        return min(
            (max(0, self.free[resource]) // self.per_instance[resource] for resource in self._known), default=None
        )

    @property
    def _known(self) -> list[str]:
        return [resource for resource, needed in self.per_instance.items() if needed > 0 and resource in self.free]

    def insist(self, count: int, where: str) -> None:
        """Raise QuotaExceeded, with numbers, where there is no room for so many more. ``where`` names the cloud."""
        room = self.room
        if room is None or count <= room:
            return
        short = [resource for resource in self._known if self.free[resource] < count * self.per_instance[resource]]
        needs = ", ".join(
            f"{count * self.per_instance[resource]} {resource} where {max(0, self.free[resource])} are free"
            for resource in short
        )
        raise QuotaExceeded(
            f"the quota of {where} has room for {room} of {plural(count, 'more instance')}: they need {needs}",
            f"ask for no more than {room}, or have the quota raised"
            if room
            else "end others, or have the quota raised",
        )


class Provider(Protocol):
    """A cloud with a way to make instances of one kind.

    Each method is one call or a few, without waiting. They raise the four kinds above, and CncpError for what will
    not be otherwise the next time, such as an image that is not there: then nothing was made.
    """

    where: str
    """Names the cloud and its region to people."""

    site: Mapping[str, str]
    """What is needed to reach the same cloud and region again, whatever their defaults are by then."""

    zones: Sequence[str]
    """Where to make them, the best first; one "" where the cloud is to choose."""

    def check(self) -> None:
        """Raise CncpError where it does not let us in, or has no such image, flavor or network."""

    def limits(self) -> Limits:
        """Return what there is room for."""

    def create(self, order: Order) -> Sequence[Instance]:
        """Make instances; return those that were made, which may be fewer than were asked for."""

    def instances(self, tags: Mapping[str, str]) -> Sequence[Instance]:
        """Return all that have these tags; what was made a moment ago may be missing, what is gone still there."""

    def delete(self, ids: Collection[str]) -> None:
        """Have these end. Those that are gone, or were never there, are no error."""

    def console(self, id: str) -> str:  # noqa: A002  # as every cloud calls it
        """Return what an instance has written to its console, "" where there is nothing yet."""

    def tidy(self, cluster: str) -> bool:
        """Take away what was made for a cluster besides instances; return whether nothing is left."""


def library(name: str, package: str, extra: str) -> Any:
    """Import what talks to a cloud. Raises NotInstalled."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name:
            raise
        raise NotInstalled(
            f"{package} is not installed, which talks to this cloud",
            f"into the cluster: a line {package} in the file that requirements names, or cncp pip install {package}; "
            f"beside a cncp of your own: pip install 'cncp[{extra}]'",
        ) from None


def price_in(tags: Mapping[str, str]) -> float | None:
    """Return the price an hour that tags tell, None where they tell none."""
    try:
        return float(tags[PRICE])
    except (KeyError, ValueError):
        return None


def seconds(text: str | None) -> float:
    """Return a time as clouds write it, 2026-11-25T10:00:00Z, in s since the epoch; 0 where it is none."""
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
