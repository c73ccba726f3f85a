"""The machines of a cluster that is there, to be asked: this one, those set up from here over ssh."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cncp.config.inventory import LOCAL, HostSpec, Inventory
from cncp.console import Console
from cncp.errors import CncpError, UsageError, plural
from cncp.fleet import registry
from cncp.fleet.any_machine import Machine, Said
from cncp.fleet.local_machine import LocalMachine
from cncp.machine.ops.engine_states import SILENCE, RollCall
from cncp.machine.ops.lifecycle import NO_SERVICE
from cncp.pools.base import Pool
from cncp.pools.former_pools import Former
from cncp.ssh.connection import Host, Local
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Crew, SomeHostsFailed, at_once, tell

T = TypeVar("T")


class Scene:
    """The machines of a cluster, or some of them, connected. A context manager.

    ``machines`` are those that can be asked, in the order of the inventory; ``failures`` has the hosts that cannot be
    reached, on which nothing of ours is, or that failed at what they were asked.
    """

    def __init__(
        self,
        inventory: Inventory,
        home: Path,
        limit: Sequence[HostSpec],
        console: Console,
        *,
        strict: bool = False,
        pools: Sequence[Pool] = (),
        whole: bool = True,
    ) -> None:
        """``home`` is CNCP_HOME. ``pools`` are where hosts come from, concerned if the ``whole`` cluster is.

        Raises CncpError where hosts are named and none was set up from here.
        """
        self.inventory = inventory
        self.home = home
        self.limit = tuple(limit)
        self.console = console
        self.pools = tuple(pools)
        self.whole = whole
        # A machine by itself knows of no other.
        self.places = registry.load(home) if inventory.named else {}
        if not self.places and any(not host.local for host in limit):
            raise CncpError("nothing has been set up on these hosts from here", "set them up: cncp up")
        self._crew = Crew([host for host in limit if host.name in self.places], strict=strict)
        self.machines: dict[str, Machine] = {}
        self.failures: dict[str, CncpError] = {
            host.name: HostError(host.name, "nothing is set up there", f"cncp up --limit {host.name}")
            for host in limit
            if host.name not in self.places and not host.local
        }

    def __enter__(self) -> Scene:  # noqa: PYI034  # no subclasses
        self._crew.__enter__()
        self.failures.update(self._crew.failures)
        for spec in self.limit:
            if spec.local:
                self.machines[spec.name] = self._here()
            elif spec.name in self._crew.hosts:
                self.machines[spec.name] = self._there(self._crew.hosts[spec.name])
        return self

    def __exit__(self, *error: object) -> None:
        self._crew.__exit__(*error)

    def _here(self) -> LocalMachine:
        return LocalMachine(LOCAL if self.inventory.named else "", self.home, self._console_of(LOCAL))

    def _there(self, host: Host) -> Machine:
        # Not at the top: a machine by itself asks no other.
        from cncp.fleet.remote_machine import RemoteMachine

        return RemoteMachine(self.places[host.spec.name], host, self._console_of(host.spec.name))

    def _console_of(self, name: str) -> Console:
        return self.console.of(self.inventory.label(name)) if self.inventory.named else self.console

    def scalable(self, named: str) -> Pool | None:
        """Return the pool of this name, or the only one whose members have a number; None where none is concerned.

        Raises UsageError where it is not to be known which is meant.
        """
        if named and not self.whole:
            raise UsageError("command line: --pool and --limit contradict each other", "name a pool, or hosts")
        scalable = [pool for pool in self.pools if self.whole and pool.count is not None]
        # One that the file has no more is meant only where it is named.
        found = {pool.name: pool for pool in scalable if pool.name == named or not isinstance(pool, Former)}
        if named and named not in found:
            there = f"there are: {', '.join(found)}" if found else "no pool of this cluster has a number of members"
            raise UsageError(f"command line: --pool {named}, which is no pool that can be scaled", there)
        if len(found) > 1 and not named:
            hint = f"name one: --pool {next(iter(found))}"
            raise UsageError(f"there are {len(found)} pools whose members can be more or fewer", hint)
        return found[named] if named else next(iter(found.values()), None)

    @property
    def others(self) -> list[str]:
        """The names of machines without the controller."""
        return [name for name in self.machines if name != self.inventory.controller.name]

    def each(self, work: Callable[[Machine], T], names: Collection[str] | None = None) -> dict[str, T]:
        """Ask all machines, or those of these names, at the same time; which fail is noted.

        What a machine by itself fails in, is raised.
        """
        chosen = {name: machine for name, machine in self.machines.items() if names is None or name in names}
        if not self.inventory.named:
            return {name: work(machine) for name, machine in chosen.items()}
        outcome = at_once(chosen, work, LOCAL)
        self.failures.update(outcome.failures)
        return dict(outcome.results)

    def each_with(self, work: Callable[[Machine], T]) -> dict[str, T]:
        """Ask all machines about services; one without those that are named has not failed where another has them."""
        found = self.each(work)
        without = {name: error for name, error in self.failures.items() if error.message.startswith(NO_SERVICE)}
        if found:
            tell(without, self.console)
            self.failures = {name: error for name, error in self.failures.items() if name not in without}
        return found

    def only(self) -> Machine:
        """Return the one machine that was asked for. Raises CncpError where it cannot be asked."""
        for error in self.failures.values():
            raise error
        return next(iter(self.machines.values()))

    @contextlib.contextmanager
    def controller(self) -> Iterator[Machine | None]:
        """Have the controller's machine for the length of a block, whether it is among those asked; None without it."""
        head = self.inventory.controller
        if head.local:
            yield self._here()
        elif head.name in self.machines or head.name not in self.places:
            yield self.machines.get(head.name)
        else:
            with self.reach(head.name) as host:
                yield self._there(host) if host else None

    @contextlib.contextmanager
    def reach(self, name: str) -> Iterator[Host | None]:
        """Connect to a machine for the length of a block, if that is to be; None where it fails."""
        if name == LOCAL:
            yield Local(HostSpec(LOCAL))
        elif name in self._crew.hosts:
            yield self._crew.hosts[name]
        else:
            placed = {placed: place.spec for placed, place in self.places.items()}
            named = {host.name: host for host in self.inventory.everyone}
            spec = {**placed, **named}.get(name)
            with Crew([spec] if spec else []) as crew:
                yield crew.hosts.get(name)

    def roll_call(self, uuids: Collection[str], patience: float = 0.0) -> RollCall:
        """Ask the controller about engines; nothing is known of them where it cannot be asked."""
        with self.controller() as machine:
            return SILENCE if machine is None else machine.roll_call(uuids, patience)

    def announce(self, step: str) -> None:
        """Tell what begins on all machines; a machine by itself tells that itself."""
        if self.inventory.named:
            self.console.phase(f"{step} {plural(len(self.machines), 'host')}")

    def show(self, said: Mapping[str, Said], *, as_json: bool = False) -> None:
        """Print what machines have said."""
        show(said, self.inventory, self.console, as_json=as_json)

    def tell(self) -> None:
        """Say which hosts failed, a line each."""
        tell(self.failures, self.console)

    def finish(self) -> None:
        """Say which hosts failed. Raises SomeHostsFailed, with how to run this again on them alone."""
        self.tell()
        self.insist("--limit")

    def insist(self, again: str = "") -> None:
        """Raise SomeHostsFailed where some have; ``again`` is as there, and names no pool."""
        if self.failures:
            hosts = {host.name for host in self.limit}
            able = self.failures.keys() <= hosts
            raise SomeHostsFailed(self.failures, len(hosts | self.failures.keys()), again if able else "")


def show(said: Mapping[str, Said], inventory: Inventory, console: Console, *, as_json: bool) -> None:
    """Print what machines have said, a line each with their name, or as JSON."""
    if as_json:
        console.data(inventory.whole(said))
        return
    for name, lines in said.items():
        for line in lines:
            console.say(f"{inventory.label(name)}{line}")
