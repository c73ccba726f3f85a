"""`cncp up` for a cluster of several machines: all hosts at once, ended when the engines answer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cncp.cluster import Value
from cncp.console import Console
from cncp.errors import CncpError, PreflightError
from cncp.fleet import deploy, offline, place
from cncp.fleet.call import call
from cncp.fleet.command import HostError
from cncp.fleet.controller import Controller, There
from cncp.fleet.crew import Crew, Outcome, at_once, tell
from cncp.fleet.place import Placed
from cncp.fleet.ssh import Local
from cncp.fleet.survey import Surveyed, survey
from cncp.inventory import LOCAL, HostSpec, Inventory
from cncp.keys import ENGINE_CHANNELS, ports_of
from cncp.machine.connection import delivered
from cncp.machine.up import START_TIMEOUT

DIAL = 5.0
"""Seconds for a port to answer."""


@dataclass(frozen=True)
class Fleet:
    """A cluster of several machines and what is asked of it.

    ``settings`` are those of each host by name, ``home`` is the folder of the machine in charge,
    ``limit`` the hosts that are concerned.
    """

    inventory: Inventory
    settings: Mapping[str, Mapping[str, Value]]
    home: Path
    limit: tuple[HostSpec, ...]
    strict: bool = False

    @property
    def hosts(self) -> tuple[HostSpec, ...]:
        """The hosts concerned that run engines only."""
        return tuple(host for host in self.limit if host.name != self.inventory.controller.name)


@dataclass
class Done:
    """What came of it: a report a host, and why others have none. ``seconds`` is the time a host took."""

    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, CncpError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def fail(self, failures: Mapping[str, CncpError], console: Console) -> None:
        """Note failures and tell them, all of a step together."""
        self.failures.update(failures)
        tell(failures, console)

    def answering(self, name: str) -> int:
        """Return how many engines of a host answer."""
        uuids = self.reports.get(name, {}).get("uuids", [])
        return sum(self.engines.get(uuid, {}).get("state") in ("idle", "busy") for uuid in uuids)


def up(fleet: Fleet, here: Controller | None, console: Console, *, alone: bool = False) -> Done:
    """Bring all hosts to what the settings say, and wait until their engines answer.

    ``here`` is the controller, where that is on this machine. ``alone`` keeps other work apart from
    the controller's, for a process that changes the user it acts as. Raises PreflightError where nothing
    can be gone on with; what fails on some hosts is in the answer.
    """
    done = Done()
    head = fleet.inventory.controller
    remote = [] if head.local else [head]
    console.phase(f"connecting to {len(fleet.hosts) + len(remote)} hosts")
    with Crew([*remote, *fleet.hosts], strict=fleet.strict) as crew:
        seen = survey(crew.hosts, [] if remote else [Local(HostSpec(LOCAL))])
        done.fail({**crew.failures, **seen.failures}, console)
        hosts = {spec.name: seen.hosts[spec.name] for spec in fleet.hosts if spec.name in seen.hosts}
        if not hosts and fleet.hosts:
            raise PreflightError("no host can be gone on with", "mend what is said above, then run this again")
        if remote and head.name not in seen.hosts:
            raise PreflightError(f"the controller's host {head.name} cannot be gone on with", "mend it first")
        _note(fleet, seen.hosts)
        for name in forgotten(fleet):
            console.warn(
                f"[{name}] is set up, but no longer in the file; put it back, then: cncp uninstall --limit {name}"
            )
        ours = deploy.code()
        prepare = _Preparation(fleet, ours, console)
        controller = here or prepare.controller(seen.hosts[head.name])
        prepared = _with_controller(controller, hosts, prepare, done, fleet, alone=alone)
        done.fail(prepared.failures, console)
        ready = {name: one for name, one in hosts.items() if name in prepared.results}
        console.phase(f"starting engines on {len(ready)} hosts")
        start = _Start(fleet, controller, prepared.results, console, done)
        started = at_once(ready, start)
        done.reports.update(started.results)
        done.fail(started.failures, console)
        console.phase("waiting for answers")
        uuids = [uuid for one in done.reports.values() for uuid in one["uuids"]]
        done.engines = controller.roll_call(uuids, START_TIMEOUT)["engines"]
    return done


def _note(fleet: Fleet, found: Mapping[str, Surveyed]) -> None:
    """Keep where things are before they are there: what is cut off can be taken away again."""
    places = place.load(fleet.home)
    places.update({name: Placed.of(one) for name, one in found.items()})
    place.save(fleet.home, places)


def forgotten(fleet: Fleet) -> list[str]:
    """Return the hosts that were set up from here and that the file no longer names."""
    named = {host.name for host in fleet.inventory.everyone}
    return sorted(name for name in place.load(fleet.home) if name not in named)


def _with_controller(
    controller: Controller,
    hosts: Mapping[str, Surveyed],
    prepare: _Preparation,
    done: Done,
    fleet: Fleet,
    *,
    alone: bool,
) -> Outcome[dict[str, Value]]:
    """Bring the controller up while the hosts are installed; return each host's settings."""
    name = fleet.inventory.controller.name
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Outcome[dict[str, Value]]] | None = None if alone else pool.submit(prepare.all, hosts)
        done.reports[name] = controller.up()
        done.seconds[name] = time.monotonic() - began
        return waiting.result() if waiting else prepare.all(hosts)


class _Preparation:
    """Brings code and packages to hosts, once to those that share a home."""

    def __init__(self, fleet: Fleet, ours: deploy.Code, console: Console) -> None:
        self._fleet = fleet
        self._ours = ours
        self._console = console
        self._wheels: bytes | None = None

    def all(self, hosts: Mapping[str, Surveyed]) -> Outcome[dict[str, Value]]:
        """Prepare hosts at the same time; return the settings each is to be started with."""
        self._provide(hosts.values())
        leaders = dict.fromkeys(_leader(one, hosts) for one in hosts.values())
        prepared = at_once({name: hosts[name] for name in leaders}, self)
        results: dict[str, dict[str, Value]] = {}
        failures = dict(prepared.failures)
        for name, one in hosts.items():
            leader = _leader(one, hosts)
            if leader in prepared.failures:
                error = prepared.failures[leader]
                failures[name] = HostError(name, error.message, error.hint)
            else:
                changed = prepared.results[leader]
                own = {**self._fleet.settings[name]}
                if "requirements" in changed:
                    own["requirements"] = changed["requirements"]
                results[name] = own
        return Outcome(results, failures)

    def __call__(self, one: Surveyed) -> dict[str, Value]:
        """Prepare one host; return its settings as they are to be named there."""
        say = self.say(one.name)
        new = deploy.send(one, self._ours)
        if new:
            say("the code is new")
        settings = deploy.requirements(one, self._fleet.settings[one.name])
        if new or one.shared:
            # A host by itself brings its packages up to date when it is started, too.
            deploy.install(one, settings, say, self._wheels if offline.needed(one) else None)
        return settings

    def _provide(self, hosts: Collection[Surveyed]) -> None:
        """Have a bundle for the hosts that need one; nothing is made where nothing is to be installed."""
        cut_off = [one for one in hosts if offline.needed(one) and deploy.outdated(one, self._ours)]
        if cut_off:
            self._wheels = offline.provide(
                cut_off, self._fleet.home, self._ours.digest, os.environ, self._console.phase
            )

    def controller(self, one: Surveyed) -> Controller:
        """Return the controller of a host, which is prepared first."""
        self._provide([one])
        return There(one, self(one), self.say(one.name))

    def say(self, name: str) -> Callable[[str], None]:
        """Return what tells the user of a host's progress."""
        return lambda line: self._console.note(f"[{name}] {line}")


def _leader(one: Surveyed, hosts: Mapping[str, Surveyed]) -> str:
    """Return the host that installs for all that share its home."""
    return next((name for name in hosts if name in one.shared), one.name)


class _Start:
    """Gives a host the connection file that works there, and runs its main job."""

    def __init__(
        self,
        fleet: Fleet,
        controller: Controller,
        settings: Mapping[str, Mapping[str, Value]],
        console: Console,
        done: Done,
    ) -> None:
        self._fleet = fleet
        self._secret = controller.engine_file()
        self._addresses = controller.addresses()
        self._external = controller.external
        self._settings = settings
        self._console = console
        self._done = done

    def __call__(self, one: Surveyed) -> dict[str, Any]:
        """Start the engines of one host; return its report. Raises HostError."""
        began = time.monotonic()
        try:
            # The address that ssh came from is likely the one that leads back.
            seen_by = one.facts["from"] if self._fleet.inventory.controller.local else ""
            address = reachable(one, self._secret, [*filter(None, (self._external, seen_by)), *self._addresses])
            content = json.dumps({**self._secret, "location": address}).encode()
            one.host.put(content, str(delivered(Path(one.home))))
            return deploy.up(one, self._settings[one.name], lambda line: self._console.note(f"[{one.name}] {line}"))
        finally:
            self._done.seconds[one.name] = time.monotonic() - began


def reachable(one: Surveyed, secret: Mapping[str, Any], addresses: Sequence[str]) -> str:
    """Return the first address at which a host reaches all of the controller's ports, by trying.

    Raises HostError naming what was tried, and the ports that do not answer.
    """
    tried = list(dict.fromkeys(addresses))
    wanted = ports_of(secret, ENGINE_CHANNELS)
    answers = call(one.host, "dial", tried, wanted, DIAL, timeout=DIAL * 3)["open"]
    best = max(tried, key=lambda address: len(answers[address]))
    closed = [port for port in wanted if port not in answers[best]]
    if not closed:
        return best
    hint = "open them to it: cncp firewall prints the rules"
    if len(closed) == len(wanted):
        raise HostError(
            one.name,
            f"it reaches the controller at none of {', '.join(tried)}, ports {min(wanted)}-{max(wanted)}",
            hint,
        )
    raise HostError(one.name, f"port {', '.join(map(str, closed))} of {best} is closed to it", hint)
