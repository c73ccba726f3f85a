"""What a phase of `cncp up` is, what all of them go by, and what comes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cncp.config.asked import Request
from cncp.config.inventory import HostSpec
from cncp.config.parsers import Value
from cncp.console import Console, Stopwatch
from cncp.errors import CncpError
from cncp.fleet import deploy
from cncp.fleet.controller_host import Controller
from cncp.fleet.deploy import Code
from cncp.fleet.model import Fleet, Surveyed
from cncp.fleet.tunnel_grants import Gate
from cncp.ipp.connection_file import EngineFile
from cncp.machine.node import Node
from cncp.machine.ops.apply import MachineReport
from cncp.machine.ops.engine_states import EngineState
from cncp.pools.base import Member, State
from cncp.ssh.pool import Crew, tell


@dataclass(frozen=True)
class Run:
    """What every phase goes by. ``pool`` is open to no host before the first phase.

    ``node`` is what ``asked`` makes of this machine. ``here`` is the controller where that is on it; elsewhere it is
    known once its host was looked at. ``again`` is as for ``machine.ops.main.bring_environment``.
    """

    asked: Request
    node: Node
    fleet: Fleet
    console: Console
    watch: Stopwatch
    pool: Crew
    here: Controller | None
    again: Sequence[str] | None = ()

    @property
    def code(self) -> Code:
        """What is brought to other machines."""
        return deploy.code()

    @property
    def head(self) -> HostSpec:
        """The controller's machine, as the inventory names it."""
        return self.fleet.inventory.controller

    def say(self, name: str) -> Callable[[str], None]:
        """Return what tells the user of a host's progress."""
        return lambda line: self.console.note(f"[{name}] {line}")


@dataclass
class Report:
    """What has come of the phases so far. A host in ``failures`` is left out of all that come after.

    ``limit`` are the hosts concerned, ``surveyed`` those that can be gone on with, ``settings`` those that each is
    to be started with, ``secret`` the engines' connection file, ``gates`` the keys that were let in for
    tunnels. ``node`` is this machine, ``first`` whether nothing was set up before.
    ``hosts`` has what the main job said on each machine, and ``host_seconds`` the time it took there;
    ``members`` are those of pools that are no such hosts; ``seconds`` is the time by phase. ``engines`` are those that
    the controller knows, by uuid; ``endings`` are what the logs of hosts with silent engines end with, as something to
    add to an error.
    """

    failures: dict[str, CncpError] = field(default_factory=dict)
    limit: tuple[HostSpec, ...] = ()
    node: Node = field(init=False, repr=False, compare=False)
    first: bool = False
    surveyed: Mapping[str, Surveyed] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    controller: Controller = field(init=False, repr=False, compare=False)
    secret: EngineFile = field(init=False, repr=False, compare=False)
    gates: set[Gate] = field(default_factory=set)
    hosts: dict[str, MachineReport] = field(default_factory=dict)
    host_seconds: dict[str, float] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    engines: Mapping[str, EngineState] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)
    _told: dict[str, CncpError] = field(default_factory=dict, repr=False, compare=False)

    def fail(self, failures: Mapping[str, CncpError]) -> None:
        """Note why hosts cannot be gone on with; they are told once the phase is over."""
        self.failures.update(failures)

    def tell(self, console: Console) -> None:
        """Tell which hosts failed since this was last done, all of a phase together."""
        tell({name: error for name, error in self.failures.items() if self._told.get(name) is not error}, console)
        self._told.update(self.failures)

    def ready(self, fleet: Fleet) -> dict[str, Surveyed]:
        """Return the hosts for engines that nothing has failed on so far."""
        names = [spec.name for spec in fleet.hosts]
        return {name: self.surveyed[name] for name in names if name in self.surveyed and name not in self.failures}

    @property
    def all_engines(self) -> int:
        """How many engines there are to be on the hosts that were started, and on members that have joined."""
        return sum(len(host.uuids) for host in self.hosts.values()) + self.joined_engines

    @property
    def all_answering(self) -> int:
        """How many of them answer."""
        return sum(map(self.answering, self.hosts)) + self.joined_engines

    @property
    def joined_engines(self) -> int:
        """How many engines members have that came by themselves: these join with engines that answer."""
        return sum(member.engines for member in self.members.values() if member.state is State.JOINED)

    @property
    def changed(self) -> bool:
        """Whether anything was done on any host."""
        return any(host.changed for host in self.hosts.values())

    @property
    def profile(self) -> str:
        """The profile, which is the same on all of them."""
        return next(iter(self.hosts.values())).profile

    def answering(self, name: str) -> int:
        """Return how many engines of a host answer."""
        return len(self.hosts[name].uuids) - len(self.silent(name)) if name in self.hosts else 0

    def silent(self, name: str) -> list[int]:
        """Return the numbers of a host's engines that do not answer."""
        answer = {uuid for uuid, seen in self.engines.items() if seen.state != "silent"}
        return [number for number, uuid in self._pairs(name) if uuid not in answer]

    def unknown(self, name: str) -> list[int]:
        """Return the numbers of a host's engines that the controller does not know."""
        return [number for number, uuid in self._pairs(name) if uuid not in self.engines]

    def _pairs(self, name: str) -> list[tuple[int, str]]:
        report = self.hosts.get(name)
        return list(zip(report.engines, report.uuids, strict=True)) if report else []


class Phase(ABC):
    """A step of `cncp up`. It holds nothing itself: what it goes by is the run, what it leaves the report."""

    name: ClassVar[str]
    """By which its time is given."""

    def title(self, run: Run, report: Report) -> str:
        """Return what the user is told of as it begins, "" where it is too short for that."""
        return ""

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether it is to take place: where others are named, for a machine by itself has none to see to."""
        return run.fleet.inventory.named

    @abstractmethod
    def run(self, run: Run, report: Report) -> Run | None:
        """Take place; return what the phases after it go by, where that is another run.

        Hosts that fail are noted in the report; raises CncpError where nothing can be gone on with.
        """


class Together:
    """Phases that take place at the same time, the last of them in the thread that signals interrupt."""

    def __init__(self, *phases: Phase) -> None:
        self.phases = phases
