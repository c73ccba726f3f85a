"""A cloud in memory, with all that clouds do to those who make instances; and a clock that costs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import CLUSTER, Instance, Limits, NoCapacity, Order, QuotaExceeded, Throttled, Unsure


class Hands(Clock):
    """A clock that goes on when somebody waits."""

    def __init__(self, time: float = 1_800_000_000.0) -> None:
        self.time = time
        self.waited: list[float] = []

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds
        self.waited.append(seconds)


class Killed(BaseException):
    """The command ends here, without a word."""


@dataclass
class Memory:
    """A cloud. Each field makes it behave as real ones at times do; times are those of ``clock``.

    ``capacity`` is how many fit into a zone, for spot instances ``spot_capacity``; ``quota`` how many the account may
    have, which it tells unless ``silent``; ``at_once`` how many of a call it makes without saying why it made no more;
    ``hidden`` for how many s it lists nothing that is new; ``throttled`` how many calls it refuses first; ``cut`` how
    many, but for creations, get no answer; ``blurred`` how many creations get none, although they are done; ``broken``
    instances fail later on; ``boots`` and ``dies`` are s until they run and are gone; ``held`` how often its group is
    in use then.
    """

    clock: Hands = field(default_factory=Hands)
    where: str = "memory, here"
    site: Mapping[str, str] = field(default_factory=lambda: {"provider": "memory", "cloud": "", "region": "here"})
    zones: Sequence[str] = ("",)
    capacity: Mapping[str, int] = field(default_factory=dict)
    spot_capacity: int | None = None
    quota: int | None = None
    silent: bool = False
    at_once: int | None = None
    hidden: float = 0.0
    throttled: int = 0
    cut: int = 0
    blurred: int = 0
    broken: int = 0
    boots: float = 5.0
    dies: float = 20.0
    held: int = 0
    calls: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    made: dict[str, Instance] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def _call(self, name: str) -> None:
        self.before(name)
        self.calls.append(name)
        if self.cut and name != "create":
            self.cut -= 1
            raise Unsure("connection reset by peer", "run this again")
        if self.throttled:
            self.throttled -= 1
            raise Throttled("RequestLimitExceeded", after=3.0)

    @property
    def alive(self) -> list[Instance]:
        """All that has to be paid for."""
        return [instance for instance in self.made.values() if instance.id not in self.ended]

    def check(self) -> None:
        self._call("check")

    def limits(self) -> Limits:
        self._call("limits")
        if self.quota is None or self.silent:
            return Limits()
        left = self.quota - len(self.alive)
        return Limits({"instances": left, "cores": 4 * left}, {"instances": 1, "cores": 4})

    def create(self, order: Order) -> Sequence[Instance]:
        self._call("create")
        self.orders.append(order)
        if self.quota is not None and len(self.alive) + order.count > self.quota:
            raise QuotaExceeded("InstanceLimitExceeded", "have the quota raised")
        room = self.spot_capacity if order.spot else self.capacity.get(order.zone)
        there = [placed for placed in self.alive if placed.zone == order.zone]
        if room is not None and len(there) + 1 > room:
            raise NoCapacity("InsufficientInstanceCapacity", "try another zone")
        count = min(number for number in (order.count, room, self.at_once) if number is not None)
        new = []
        for _ in range(count):
            number = next(self._numbers)
            instance = Instance(
                f"i-{number}", f"host-{number}", "requested", since=self.clock.now(), address=f"10.0.0.{number}",
                zone=order.zone, flavor="small", price=0.1, tags=dict(order.tags),
            )  # fmt: skip
            self.made[instance.id] = instance
            new.append(instance)
        self.groups.add(order.tags[CLUSTER])
        if self.blurred:
            self.blurred -= 1
            raise Unsure("the cloud did not answer within 60 s", "run this again")
        self.after("create")
        return new

    def instances(self, tags: Mapping[str, str]) -> Sequence[Instance]:
        self._call("instances")
        self.after("instances")
        now = self.clock.now()
        seen = [self._seen(instance) for instance in self.made.values() if instance.since + self.hidden <= now]
        return [instance for instance in seen if instance.state != "gone" and tags.items() <= instance.tags.items()]

    def _seen(self, instance: Instance) -> Instance:
        now = self.clock.now()
        if instance.id in self.ended:
            return replace(instance, state="gone" if self.ended[instance.id] + self.dies <= now else "ending")
        if int(instance.id[2:]) <= self.broken:
            return replace(instance, state="failed", cause="No valid host was found")
        if instance.state == "requested" and instance.since + self.boots <= now:
            return replace(instance, state="running")
        return instance

    def delete(self, ids: Collection[str]) -> None:
        self._call("delete")
        for name in ids:
            # As EC2 does, one that it does not list yet is not there.
            if name in self.made and self.made[name].since + self.hidden <= self.clock.now():
                self.ended.setdefault(name, self.clock.now())
        self.after("delete")

    def console(self, id: str) -> str:  # noqa: A002, ARG002
        self._call("console")
        return ""

    def tidy(self, cluster: str) -> bool:
        self._call("tidy")
        self.held -= 1
        theirs = [instance for instance in self.made.values() if instance.tags.get(CLUSTER) == cluster]
        if self.held >= 0 or any(self._seen(instance).state != "gone" for instance in theirs):
            return cluster not in self.groups
        self.groups.discard(cluster)
        return True
