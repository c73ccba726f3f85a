"""Where engines come from: what a pool offers to the verbs, whoever makes its machines.

A pool is a ``[[pool]]`` of cluster.toml. It gives hosts that ssh reaches, on which a cluster is then set up as on any
others, or members that come by themselves (instances, jobs, netbooted nodes) and join by a rendezvous document, or
both. Packages of others have theirs found by the entry point group ``cncp.pools``. A layer below the rest of its
package: what is done on many machines goes by it, and knows of no one kind.
"""

from __future__ import annotations

import enum
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cncp.config import pool_tables
from cncp.config.inventory import HostSpec, Inventory, PoolTable
from cncp.config.parsers import Value
from cncp.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

Say = Callable[[str], None]
"""Tells the user of progress, a line each."""


class State(enum.Enum):
    """Where a member is on its way to running engines, or from there."""

    REQUESTED = "requested"
    BOOTING = "booting"
    FETCHING = "fetching"
    INSTALLING = "installing"
    JOINED = "joined"
    LOST = "lost"
    FAILED = "failed"
    ENDED = "ended"

    @property
    def coming(self) -> bool:
        """Whether it can still be waited for."""
        return self in (State.REQUESTED, State.BOOTING, State.FETCHING, State.INSTALLING)

    @property
    def gone(self) -> bool:
        """Whether it has to be acquired anew to run engines."""
        return self in (State.LOST, State.FAILED, State.ENDED)


@dataclass(frozen=True)
class Member:
    """A machine of a pool as the pool sees it now.

    ``cause`` is why it is in that state, with the hint where there is one; ``since`` when that began, in s since the
    epoch, 0 where nobody knows; ``engines`` how many engines it runs, 0 for a host that the cluster asks itself.
    A host that ssh reaches has the name that it has in ``hosts``.
    """

    name: str
    state: State
    cause: str = ""
    since: float = 0.0
    engines: int = 0

    @property
    def age(self) -> float:
        """Seconds that it is in that state, 0 where nobody knows."""
        return max(0.0, time.time() - self.since) if self.since else 0.0

    def document(self) -> dict[str, object]:
        """Return it as JSON types."""
        return {
            "name": self.name,
            "state": self.state.value,
            "cause": self.cause,
            "since": self.since,
            "engines": self.engines,
        }


@dataclass(frozen=True)
class Rendezvous:
    """What members that come by themselves need to join, once the controller answers.

    ``engine_file`` is the content of the engines' connection file, a secret. ``addresses`` are those of the
    controller's machine, the likeliest first. ``settings`` are the cluster's for a machine of engines.
    """

    profile: str
    engine_file: Mapping[str, object]
    addresses: tuple[str, ...]
    settings: Mapping[str, Value]


@dataclass(frozen=True)
class Want:
    """A key of a pool's table: how its value is read, what that may be, what it means.

    ``parse`` takes a TOML value and returns it normalised, or raises ValueError with a text that completes the sentence
    "KEY must be ...": `cncp.config.parsers.within`, ``choice``. Without a ``default`` it must be given.
    """

    parse: Callable[[Any], Any]
    values: str
    help: str
    default: Any = None


class Pool(ABC):
    """A ``[[pool]]``. What its methods raise is CncpError; anything else is told as a fault of the pool's package.

    Nothing changes before ``acquire``: ``read``, ``check`` and ``plan`` only look. ``acquire`` may be called
    on what is there already, and brings it to what is wanted; a call that was cut off is gone on with by the next.
    """

    kind: ClassVar[str]
    """What stands as ``provider``."""

    wants: ClassVar[Mapping[str, Want]] = {}
    """The keys of its table, besides those that all hosts can have, such as engines. These win."""

    counted: ClassVar[str] = ""
    """Which of ``wants`` is the number of members, "" where there is none: `cncp scale` is about that."""

    only: ClassVar[bool] = False
    """Whether a cluster can have no more than one of its kind."""

    at_controller: ClassVar[bool] = False
    """Whether the controller's machine makes its members and looks after them: from another, verbs are run there."""

    def __init__(self, table: PoolTable, wanted: Mapping[str, Any], name: str, home: Path) -> None:
        """``wanted`` are the values of ``wants``; ``name`` is what reports show, ``home`` our folder (CNCP_HOME)."""
        self.table = table
        self.wanted = dict(wanted)
        self.name = name
        self.home = home
        self.settings: Mapping[str, Value] = self.described(HostSpec("host")).settings
        """What the table says of engines, parsed."""

    @classmethod
    def read(cls, table: PoolTable, name: str, home: Path) -> Self:
        """Check a table. Raises UsageError, and changes nothing."""
        _described(HostSpec("host"), table, cls.wants)
        return cls(table, {key: _read(key, want, table) for key, want in cls.wants.items()}, name, home)

    def described(self, host: HostSpec) -> HostSpec:
        """Return a host with what the table says of all of them."""
        return _described(host, self.table, self.wants)

    @property
    def count(self) -> int | None:
        """How many members are wanted; None where that is not to be changed by a number."""
        return self.wanted[self.counted] if self.counted else None

    @property
    def written(self) -> Any:
        """What the file says of that number, None where nothing."""
        return self.table.values.get(self.counted)

    def scale(self, count: int) -> None:
        """Want so many from now on; ``acquire`` and ``release`` then make it so. Raises UsageError."""
        if not self.counted:
            raise UsageError(f"the pool {self.name} has no number of members", f"change it in {self.table.where}")
        self.wanted[self.counted] = _parsed(self.counted, self.wants[self.counted], count, f"scale {self.name}")

    def surplus(self) -> Sequence[str]:
        """Return which members are more than are wanted, those to be released first at the front."""
        return ()

    def drain(self, names: Collection[str], *, hold: bool = True) -> Sequence[str]:
        """Have no new work go to members, or with ``hold`` false again; return those that still compute.

        Asked again and again while they are waited for. Whoever ends hosts sees to their engines by itself.
        """
        return ()

    def check(self) -> None:  # noqa: B027  # what is to be had always needs no look
        """Raise CncpError where what is wanted cannot be had, before anything is changed anywhere."""

    @abstractmethod
    def plan(self) -> Sequence[str]:
        """Return what ``acquire`` would do, a line each; none where there is nothing to do."""

    @abstractmethod
    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """Make, find or start what is wanted. Return the hosts that let us in; wait for no others.

        One that cannot be had is among those observed, with its cause. Raises where nothing can be gone on with.
        """

    def hosts(self) -> Sequence[HostSpec]:
        """Return the hosts that let us in now, without acquiring any."""
        return ()

    def publish(self, rendezvous: Rendezvous, say: Say) -> None:  # noqa: B027  # hosts that ssh reaches are told by it
        """Tell members that come by themselves how to join: the controller answers now."""

    @property
    def patience(self) -> float:
        """Seconds in which members that come by themselves have to join."""
        return 600.0

    @abstractmethod
    def observe(self) -> Sequence[Member]:
        """Return what there is, whatever its state."""

    @abstractmethod
    def release(self, names: Collection[str], say: Say) -> None:
        """Let members go, and return when that is so; their engines have ended. Those released already are no error."""

    def discard(self, say: Say) -> None:
        """Leave nothing of the pool behind, here or elsewhere."""
        self.release([member.name for member in self.observe() if member.state is not State.ENDED], say)


def _described(host: HostSpec, table: PoolTable, wants: Collection[str]) -> HostSpec:
    shared = {key: value for key, value in table.values.items() if key not in wants}
    return pool_tables.described(host, shared, table.where, list(wants))


def _read(key: str, want: Want, table: PoolTable) -> Any:
    if key not in table.values:
        if want.default is None:
            raise UsageError(f"{table.where}: there is no {key}", f"add {key} = {want.values}: {want.help}")
        return want.default
    return _parsed(key, want, table.values[key], table.where)


def _parsed(key: str, want: Want, raw: Any, where: str) -> Any:
    try:
        return want.parse(raw)
    except ValueError as error:
        raise UsageError(f"{where}: {key} = {raw!r} is not possible", f"{key} must be {error}") from None


def with_hosts(
    cluster: Inventory, pools: Collection[Pool], acquired: Mapping[str, Sequence[HostSpec]] | None = None
) -> Inventory:
    """Return an inventory with the hosts of its pools, in the order of the file. Raises CncpError.

    They are those that were just ``acquired``, by the name of the pool, else those that let us in now.
    """
    found = replace(cluster, hosts=()) if pools else cluster
    for pool in pools:
        given = (acquired or {}).get(pool.name)
        found = found.joined(pool.hosts() if given is None else given, pool.table.where)
    return found
