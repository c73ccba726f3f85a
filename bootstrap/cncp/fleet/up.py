"""`cncp up` for a cluster of several machines: all hosts at once, ended when the engines answer."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cncp.cluster import Value
from cncp.console import Console
from cncp.errors import CncpError, PreflightError, UsageError
from cncp.fleet import authorized, deploy, offline, place, tunnels
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
from cncp.machine.tunnels import label
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
    if alone and not all(spec.direct for spec in fleet.inventory.hosts):
        raise UsageError("connect = forward and reverse need the account itself", "run this as that user, without sudo")
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
        former = _note(fleet, seen.hosts)
        for name in forgotten(fleet.inventory, fleet.home):
            console.warn(f"[{name}] is set up, but no longer in the file; take it down: cncp uninstall --limit {name}")
        ours = deploy.code()
        prepare = _Preparation(fleet, ours, console)
        controller = here or prepare.controller(seen.hosts[head.name])
        prepared = _with_controller(controller, hosts, prepare, done, fleet, alone=alone)
        done.fail(prepared.failures, console)
        ready = {name: one for name, one in hosts.items() if name in prepared.results}
        secret = controller.engine_file()
        keys = _open_tunnels(fleet, controller, ready, former, secret, done, console)
        ready = {name: one for name, one in ready.items() if one.host.spec.connect != "reverse" or name in keys}
        console.phase(f"starting engines on {len(ready)} hosts")
        start = _Start(fleet, controller, secret, former, prepared.results, prepare, done)
        started = at_once(ready, start)
        _note_keys(fleet, {**keys, **start.keys})
        done.reports.update(started.results)
        done.fail(started.failures, console)
        console.phase("waiting for answers")
        uuids = [uuid for one in done.reports.values() for uuid in one["uuids"]]
        done.engines = controller.roll_call(uuids, START_TIMEOUT)["engines"]
    return done


def _note(fleet: Fleet, found: Mapping[str, Surveyed]) -> Mapping[str, Placed]:
    """Keep where things are before they are there: what is cut off can be taken away again.

    Returns what was kept before.
    """
    former = place.load(fleet.home)
    keys = {name: one.tunnel for name, one in former.items()}
    now = {name: replace(Placed.of(one), tunnel=keys.get(name, "")) for name, one in found.items()}
    place.save(fleet.home, {**former, **now})
    return former


def _note_keys(fleet: Fleet, keys: Mapping[str, str]) -> None:
    """Keep which key each host has for its tunnel, "" where it has none any more."""
    places = place.load(fleet.home)
    new = {name: replace(places[name], tunnel=key) for name, key in keys.items() if places[name].tunnel != key}
    if new:
        place.save(fleet.home, {**places, **new})


def _open_tunnels(
    fleet: Fleet,
    controller: Controller,
    ready: Mapping[str, Surveyed],
    former: Mapping[str, Placed],
    secret: Mapping[str, Any],
    done: Done,
    console: Console,
) -> Mapping[str, str]:
    """Have the controller's machine keep an ssh to hosts that are to be reached so; return their keys."""
    wanted = [spec.name for spec in fleet.inventory.hosts if spec.connect == "reverse"]
    if not wanted and not any(one.spec.connect == "reverse" for one in former.values()):
        return {}
    console.phase(f"connecting the controller to {len(wanted)} hosts")
    hosts = {name: one for name, one in ready.items() if name in wanted}
    again, let = tunnels.keep_open(controller, hosts, [name for name in wanted if name not in hosts], secret)
    done.fail(let.failures, console)
    if again:
        done.reports[fleet.inventory.controller.name] = {**controller.up(), "changed": True}
    return let.results


def forgotten(hosts: Inventory | None, home: Path) -> dict[str, HostSpec]:
    """Return the hosts that were set up from here and that the file no longer names."""
    named = {host.name for host in hosts.everyone} if hosts else set()
    return {name: one.spec for name, one in sorted(place.load(home).items()) if name not in named}


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
        self.ours = ours
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
        new = deploy.send(one, self.ours)
        if new:
            say("the code is new")
        settings = deploy.requirements(one, self._fleet.settings[one.name])
        if new or one.shared:
            # A host by itself brings its packages up to date when it is started, too.
            deploy.install(one, settings, say, self._wheels if offline.needed(one) else None)
        return settings

    def _provide(self, hosts: Collection[Surveyed]) -> None:
        """Have a bundle for the hosts that need one; nothing is made where nothing is to be installed."""
        cut_off = [one for one in hosts if offline.needed(one) and deploy.outdated(one, self.ours)]
        if cut_off:
            self._wheels = offline.provide(cut_off, self._fleet.home, self.ours.digest, os.environ, self._console.phase)

    def controller(self, one: Surveyed) -> Controller:
        """Return the controller of a host, which is prepared first."""
        self._provide([one])
        return There(one, self(one), self.say(one.name), self.ours)

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
        secret: Mapping[str, Any],
        former: Mapping[str, Placed],
        settings: Mapping[str, Mapping[str, Value]],
        prepare: _Preparation,
        done: Done,
    ) -> None:
        self.keys: dict[str, str] = {}
        self._fleet = fleet
        self._controller = controller
        self._letting_in = threading.Lock()
        self._secret = secret
        self._former = former
        self._addresses = controller.addresses()
        self._settings = settings
        self._prepare = prepare
        self._done = done

    def __call__(self, one: Surveyed) -> dict[str, Any]:
        """Start the engines of one host; return its report. Raises HostError."""
        began = time.monotonic()
        connect = one.host.spec.connect
        try:
            self._undo(one, connect)
            if connect == "forward":
                self._forward(one)
            elif connect == "reverse":
                log = f"cncp logs --limit {self._fleet.inventory.controller.name} --name tunnel-{label(one.name)}"
                tunnels.await_ports(one, self._secret, log)
            document = self._direct(one) if one.host.spec.direct else tunnels.behind(self._secret)
            one.host.put(json.dumps(document).encode(), str(delivered(Path(one.home))))
            said = deploy.up(one, self._settings[one.name], self._prepare.say(one.name), self._prepare.ours)
            if connect == "forward":
                log = f"cncp logs --limit {one.name} --name tunnel-{label(self._controller.name)}"
                tunnels.await_ports(one, self._secret, log)
            return said
        finally:
            self._done.seconds[one.name] = time.monotonic() - began

    def _ways(self, one: Surveyed) -> list[str]:
        """Return the addresses by which a host may reach the controller's machine, the likeliest first."""
        # The address that ssh came from is likely the one that leads back.
        seen_by = one.facts["from"] if self._fleet.inventory.controller.local else ""
        return [*filter(None, (self._controller.external, seen_by)), *self._addresses]

    def _direct(self, one: Surveyed) -> dict[str, Any]:
        return {**self._secret, "location": reachable(one, self._secret, self._ways(one))}

    def _forward(self, one: Surveyed) -> None:
        """Have a host keep an ssh to the controller's machine."""
        there = self._controller
        way = tunnels.by_trial(one.host, there.name, there.user, there.host.spec.port, self._ways(one))
        whole = tunnels.complete(way, there.host, self._secret, reverse=False)
        left = tunnels.leave(Placed.of(one), one.host, [whole])
        # All hosts have theirs written into the same file there.
        with self._letting_in:
            self.keys[one.name] = tunnels.let_in(there.host, left["public"], whole)

    def _undo(self, one: Surveyed, connect: str) -> None:
        """Take away what another way of connecting has left."""
        former = self._former.get(one.name)
        if former is None or not former.tunnel or former.spec.connect == connect:
            return
        if former.spec.connect == "reverse":
            authorized.remove(one.host, former.tunnel)
        else:
            tunnels.leave(Placed.of(one), one.host, [])
            with self._letting_in:
                authorized.remove(self._controller.host, former.tunnel)
        self.keys[one.name] = ""


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
