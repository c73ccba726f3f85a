"""A pool of whomever, whose answers are held before they are used, and whose faults are told as such."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cncp.config import pool_tables
from cncp.config.host_way import OF_SSH
from cncp.config.inventory import HostSpec, PoolTable
from cncp.errors import CncpError, UsageError
from cncp.extensions import fault
from cncp.pools.base import Member, Pool, Rendezvous, Say, State

T = TypeVar("T")


def read(kind: type[Pool], table: PoolTable, name: str, home: Path) -> Pool:
    """Have a pool read its table. Raises UsageError, or CncpError on a fault of its own."""
    try:
        return kind.read(table, name, home)
    except (CncpError, OSError):
        raise
    except Exception as error:
        raise _fault(kind, table.where, f"{kind.__name__}.read ended with {type(error).__name__}: {error}") from error


def _fault(kind: type[Pool], where: str, problem: str) -> CncpError:
    return CncpError(f"{where}: {problem}", fault(kind.__module__.partition(".")[0]))


class Guarded(Pool):
    """Does what the pool inside does. Raises CncpError alone, and returns nothing that cannot be used."""

    def __init__(self, inner: Pool) -> None:
        self._inner = inner
        super().__init__(inner.table, inner.wanted, inner.name, inner.home)

    @property
    def inner(self) -> Pool:
        """The pool inside."""
        return self._inner

    def described(self, host: HostSpec) -> HostSpec:
        """Go by the keys that the pool inside has."""
        return self._inner.described(host)

    def _asked(self, operation: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except (CncpError, OSError):
            raise
        except Exception as error:
            raise self._fault(f"{operation} ended with {type(error).__name__}: {error}") from error

    def _fault(self, problem: str) -> CncpError:
        return _fault(type(self._inner), self.name, problem)

    def _list(self, operation: str, call: Callable[[], Iterable[Any]], kind: type[T]) -> list[T]:
        found = self._asked(operation, lambda: list(call()))
        strangers = [stranger for stranger in found if not isinstance(stranger, kind)]
        if strangers:
            raise self._fault(f"{operation} gave {strangers[0]!r:.80}, which is no {kind.__name__}")
        return found

    def _hosts(self, operation: str, call: Callable[[], Iterable[Any]]) -> list[HostSpec]:
        found = [self._host(host, operation) for host in self._list(operation, call, HostSpec)]
        self._refuse_twice(operation, [host.name for host in found])
        return found

    def _host(self, host: HostSpec, operation: str) -> HostSpec:
        try:
            plain = pool_tables.spec(host.name, self.name)
            if plain != HostSpec(host.name) or plain.local:
                raise self._fault(f"{operation} gave {host.name!r}, which is no name of a host of a pool")
            ways = {key: getattr(host, key) for key in OF_SSH if getattr(host, key) != getattr(plain, key)}
            return self._inner.described(pool_tables.described(plain, {**ways, **host.settings}, self.name))
        except (UsageError, TypeError) as error:
            raise self._fault(f"{operation} gave a host that cannot be: {error}") from error

    def _refuse_twice(self, operation: str, names: Sequence[str]) -> None:
        for name in names:
            if names.count(name) > 1:
                raise self._fault(f"{operation} gave {name} twice")

    @property
    def count(self) -> int | None:
        """Ask the pool inside."""
        found = self._asked("count", lambda: self._inner.count)
        if found is not None and not isinstance(found, int):
            raise self._fault(f"count is {found!r:.80}, which is no number")
        return found

    @property
    def written(self) -> Any:
        """Ask the pool inside."""
        return self._inner.written

    def scale(self, count: int) -> None:
        """Have the pool inside want so many."""
        self._asked("scale", lambda: self._inner.scale(count))

    def surplus(self) -> Sequence[str]:
        """Ask the pool inside."""
        return self._list("surplus", self._inner.surplus, str)

    def drain(self, names: Collection[str], *, hold: bool = True) -> Sequence[str]:
        """Ask the pool inside."""
        return self._list("drain", lambda: self._inner.drain(names, hold=hold), str)

    def check(self) -> None:
        """Ask the pool inside."""
        self._asked("check", self._inner.check)

    def plan(self) -> Sequence[str]:
        """Ask the pool inside."""
        return self._list("plan", self._inner.plan, str)

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """Have the pool inside do so, and hold its hosts."""
        return self._hosts("acquire", lambda: self._inner.acquire(say))

    def hosts(self) -> Sequence[HostSpec]:
        """Ask the pool inside, and hold its hosts."""
        return self._hosts("hosts", self._inner.hosts)

    def publish(self, rendezvous: Rendezvous, say: Say) -> None:
        """Have the pool inside do so."""
        self._asked("publish", lambda: self._inner.publish(rendezvous, say))

    @property
    def patience(self) -> float:
        """Ask the pool inside."""
        return self._asked("patience", lambda: float(self._inner.patience))

    def observe(self) -> Sequence[Member]:
        """Ask the pool inside, and hold its members."""
        found = self._list("observe", self._inner.observe, Member)
        for member in found:
            texts = isinstance(member.name, str) and member.name and isinstance(member.cause, str)
            numbers = isinstance(member.since, int | float) and isinstance(member.engines, int)
            if not texts or not numbers or not isinstance(member.state, State):
                raise self._fault(f"observe gave {member!r:.200}, which no member can be")
        self._refuse_twice("observe", [member.name for member in found])
        return found

    def release(self, names: Collection[str], say: Say) -> None:
        """Have the pool inside do so."""
        self._asked("release", lambda: self._inner.release(names, say))

    def discard(self, say: Say) -> None:
        """Have the pool inside do so."""
        self._asked("discard", lambda: self._inner.discard(say))
