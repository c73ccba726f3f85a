"""All hosts at once: one thread and one connection each; failures are collected, not raised one by one."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from cncp.config.inventory import HostSpec
from cncp.console import Console
from cncp.errors import SOME_HOSTS, CncpError, ours, plural
from cncp.ssh.command import stopped
from cncp.ssh.connection import Host, Remote, host
from cncp.ssh.host_errors import HostError

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

_AT_ONCE = 64  # threads; a login costs this machine 15 to 100 ms of processor time, by the key exchange
_TRIES = 3
# A host that has let a whole time-out pass would only be waited for three times as long.
_PASSING = ("kex_exchange_identification", "Connection reset", "Connection closed")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of it, by host name: results, and failures with their hints."""

    results: Mapping[str, T] = field(default_factory=dict)
    failures: Mapping[str, CncpError] = field(default_factory=dict)


def tell(failures: Mapping[str, CncpError], console: Console) -> None:
    """Say which hosts failed and why, a line each."""
    for name, error in failures.items():
        console.warn(f"[{name}] {error.message}; {error.hint}")


class SomeHostsFailed(CncpError):
    """Some hosts failed, others went on; ``failures`` has them by name."""

    exit_code = SOME_HOSTS

    def __init__(self, failures: Mapping[str, CncpError], total: int, again: str = "--limit") -> None:
        """``again`` is the option that names hosts to the command, "" where it has none."""
        named = ", ".join(failures)
        alone = f", on these alone with {again} {','.join(failures)}" if again else ""
        super().__init__(
            f"{len(failures)} of {plural(total, 'host')} failed: {named}", f"mend them, then run this again{alone}"
        )
        self.failures = failures


class Crew:
    """Connections to hosts: open for the length of a ``with`` block, or from ``connect`` to ``close``.

    Hosts that cannot be reached are in ``failures``.
    """

    def __init__(self, specs: Sequence[HostSpec], *, strict: bool = False, askpass: str = "") -> None:
        self.specs = tuple(specs)
        self.hosts: dict[str, Host] = {}
        self.failures: dict[str, CncpError] = {}
        self._strict = strict
        self._askpass = askpass

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def connect(self) -> None:
        """Log in to all hosts at the same time."""
        begun: dict[str, Remote] = {}

        def reach(spec: HostSpec) -> Host:
            made = host(spec, strict=self._strict, askpass=self._askpass)
            if isinstance(made, Remote):
                begun[spec.name] = made
                _open(made)
            return made

        try:
            outcome = at_once({spec.name: spec for spec in self.specs}, reach)
        except BaseException:
            # Nobody else will: who is interrupted on the way in never comes to the way out.
            at_once(begun, Remote.close)
            raise
        # In the order of the inventory, whoever answered first.
        self.hosts = {spec.name: outcome.results[spec.name] for spec in self.specs if spec.name in outcome.results}
        self.failures.update(outcome.failures)

    def close(self) -> None:
        """Close what is open."""
        at_once({name: remote for name, remote in self.hosts.items() if isinstance(remote, Remote)}, Remote.close)

    def each(self, work: Callable[[Host], T]) -> Outcome[T]:
        """Do something on every connected host at the same time."""
        return at_once(self.hosts, work)


def _open(remote: Remote) -> None:
    """Log in; try again where a server that many ask at once has dropped us, after a random wait."""
    for attempt in range(1, _TRIES + 1):
        try:
            remote.open()
            return
        except HostError as error:
            if attempt == _TRIES or not any(mark in error.message for mark in _PASSING):
                raise
        # Servers drop logins at random when there are too many (MaxStartups, sshd_config(5)).
        time.sleep(random.uniform(0.1, 0.5) * attempt)  # noqa: S311  # no secret


S = TypeVar("S")


@contextlib.contextmanager
def stopping(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Have work in threads end, and no more of it begin, where a signal ends the ``with`` block."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        with stopped():
            pool.shutdown(wait=True, cancel_futures=True)
        raise


def at_once(subjects: Mapping[str, S], work: Callable[[S], T], mine: str = "") -> Outcome[T]:
    """Do ``work`` for all subjects at the same time and wait for all of it.

    That of the subject called ``mine`` is done in this thread, which signals interrupt.
    """
    results: dict[str, T] = {}
    failures: dict[str, CncpError] = {}
    others = [name for name in subjects if name != mine]
    with contextlib.ExitStack() as threads:
        ends: dict[str, Callable[[], T]] = {}
        if others:
            count = min(_AT_ONCE, len(others))
            pool = threads.enter_context(ThreadPoolExecutor(count, thread_name_prefix="host"))
            threads.enter_context(stopping(pool))
            ends = {name: pool.submit(work, subjects[name]).result for name in others}
        if mine in subjects:
            ends = {mine: partial(work, subjects[mine]), **ends}
        for name, end in ends.items():
            try:
                results[name] = end()
            except (CncpError, OSError) as error:
                # A disk that is full here, or a name that it does not take, is of no concern to the others.
                failures[name] = ours(error)
    in_order = {name: results[name] for name in subjects if name in results}
    return Outcome(in_order, {name: failures[name] for name in subjects if name in failures})
