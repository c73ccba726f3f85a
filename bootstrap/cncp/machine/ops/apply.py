"""A machine made to hold what it is to hold and run what it is to run: asked for, planned, done, looked at."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cncp import accounts, files
from cncp.config import sources
from cncp.config.asked import Request
from cncp.config.settings import Cluster
from cncp.console import Console, Stopwatch
from cncp.errors import plural
from cncp.field_types import AbsolutePath, EngineUuid, Matching, Number, Sized, Text, Within, Word
from cncp.install import source_code
from cncp.machine import connection_files, engine_variables, facts, services, tunnels
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded, engine_choice
from cncp.machine.converge.engine_choice import Engine
from cncp.machine.desired import Desired
from cncp.machine.jupyter import service
from cncp.machine.node import Node, check_profile, resolve
from cncp.machine.ops import busy_engines, checks, port_check, steps
from cncp.machine.ops.readiness import REGISTERS, Answers, Revive, wait
from cncp.machine.root import authority
from cncp.machine.services import ServiceManager, processes, service_manager
from cncp.machine.services.base import unkept
from cncp.machine.services.processes import running
from cncp.machine.services.startup import START_TIMEOUT
from cncp.machine.services.systemd import check_owner
from cncp.records import Odd, Record
from cncp.rendezvous import member_record


@dataclass(frozen=True)
class Plan:
    """All that `cncp up` would do."""

    node: Node
    wanted: Desired
    files: tuple[embedded.Change, ...]
    removals: tuple[str, ...]
    secrets: tuple[str, ...]
    start: tuple[str, ...]
    stop: tuple[str, ...]
    leave: str

    @property
    def empty(self) -> bool:
        """True when there is nothing to do."""
        return not (self.files or self.removals or self.secrets or self.start or self.stop or self.leave)


def describe(asked: Request) -> Node:
    """Turn settings and facts into the node attributes of this machine. Changes nothing."""
    _, hosts = sources.read(asked.file)
    idle = hosts is not None and not hosts.controller.local
    wanted = sources.gather(file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former)
    former = steps.former(accounts.home(asked.environment))
    node = choose(asked.environment, wanted, former.engine_ids if former else (), idle=idle)
    insist(node)
    return node


def insist(node: Node) -> None:
    """Raise CncpError where this machine cannot be what a node says. Changes nothing."""
    services.insist(node)
    if node.services:
        checks.insist(node.settings, controller=node.controller, folders=_folders(node), python=_python(node))
        port_check.insist(node)
        service.insist(node)


def _folders(node: Node) -> tuple[Path, ...]:
    return Path(node.home), Path(node.profile_dir), node.log_dir, node.security_dir


def _python(node: Node) -> str:
    return str(node.python) if node.python.exists() else sys.executable


def choose(environment: Mapping[str, str], wanted: Cluster, present: Sequence[int], *, idle: bool = False) -> Node:
    """Make the choices that settings leave open. ``present``: ids of engines, those to keep first."""
    account = accounts.account(environment)
    home = accounts.home_folder(environment, account)
    return resolve(
        wanted,
        facts.gather(environment),
        home=home,
        ipython_dir=accounts.ipython_folder(environment, account),
        present=present,
        instance=environment.get("CNCP_INSTANCE", ""),
        tunnels=tunnels.load(home),
        idle=idle,
        past=steps.former(home),
        rendezvous=member_record.role(home),
    )


def plan(node: Node, manager: ServiceManager) -> Plan:
    """Compare what is with what is to be. Changes nothing."""
    wanted = steps.wanted(node)
    states = manager.states()
    services = steps.services(wanted, steps.digests(states))
    alone = {process.name for process in unkept(node, manager, states).services}
    return Plan(
        node=node,
        wanted=wanted,
        files=tuple(embedded.changes(wanted.resources)),
        removals=(*steps.removals(node, wanted), *steps.stale_units(node, wanted)),
        secrets=(
            *connection_files.outdated(node),
            *service.outdated(node),
            *engine_variables.outdated(node.settings.environment, node.home),
        ),
        start=services.start,
        stop=(*services.stop, *sorted(alone.difference(services.stop))),
        leave=steps.leaving(node),
    )


@contextlib.contextmanager
def locked(node: Node, operation: str) -> Iterator[None]:
    """Keep a second run away from this machine's cluster."""
    home = Path(node.home)
    files.make_home(home)
    with files.lock(home / "lock", operation):
        yield


def require_root(node: Node, verb: str) -> bool:
    """Tell whether root's step is needed; raise PreflightError, before anything is touched, where it cannot be had.

    Units of the system that are there need it too, where the cluster is to leave them.
    """
    past = steps.former(Path(node.home))
    concerned = [candidate for candidate in (node, past) if candidate is not None and candidate.scope == "system"]
    for affected in concerned:
        authority.require(affected, facts.sudo(), verb)
    return bool(concerned)


@dataclass(frozen=True)
class Outcome:
    """What `cncp up` did and saw, and the time it took by phase."""

    answers: Answers
    changed: bool
    engine: Engine
    seconds: Mapping[str, float] = field(default_factory=dict)


_PhaseName = Annotated[str, Matching("[a-z-]{1,64}", "a phase")]
_PhaseSeconds = Annotated[float, Within(0, 1e9)]


@dataclass(frozen=True)
class MachineReport(Record):
    """What the main job leaves on one machine, as `cncp up --json` prints it but for the time of all of it.

    ``answering`` and ``engines`` are numbers, ``uuids`` those of ``engines``, in their order: by these the
    controller knows engines, of whatever host. ``why`` is that of the service manager, ``seconds`` the time by phase.
    """

    changed: bool
    engines: tuple[Number, ...]
    profile: Annotated[str, Matching(r"[A-Za-z0-9_.-]{1,255}", "the name of a profile")]
    profile_dir: AbsolutePath
    scope: Word
    service_manager: Word
    uuids: tuple[EngineUuid, ...]
    answering: tuple[Number, ...] = ()
    converge: Word = ""
    converge_why: Text = ""
    jupyter: Text | None = None
    why: Text = ""
    seconds: Annotated[Mapping[_PhaseName, _PhaseSeconds], Sized(64)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.engines) != len(self.uuids):
            raise Odd("as many as there are engines").inside(".uuids")


def report(node: Node, outcome: Outcome) -> MachineReport:
    """Return what came of the main job."""
    access = service.load(node) if service.wanted(node) else None
    processes = running(node)
    return MachineReport(
        answering=tuple(sorted(outcome.answers.answering)),
        changed=outcome.changed,
        converge=outcome.engine.name,
        converge_why=outcome.engine.why,
        engines=node.engine_ids,
        jupyter=access.url if access else None,
        profile=node.settings.profile,
        profile_dir=node.profile_dir,
        scope=node.scope,
        service_manager=node.manager,
        uuids=tuple(processes[f"engine-{number}"].uuid for number in node.engine_ids),
        why=node.why,
        seconds=outcome.seconds,
    )


def up(
    node: Node,
    console: Console,
    timeout: float = START_TIMEOUT,
    verb: str = "up",
    watch: Stopwatch | None = None,
) -> Outcome:
    """Converge this machine and wait until its engines answer. ``verb`` is what root is to be asked for.

    ``watch`` has taken the time of what was done before. Raises CncpError when something cannot be done; what was
    done until then stays, and the next run goes on from there.
    """
    watch = watch or Stopwatch(console)
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    source_code.insist(Path(node.home))
    engine_choice.insist(node)
    check_profile(node)
    check_owner(node)
    used = engine_choice.NONE
    with locked(node, "cncp up"):
        with watch.phase("plan"):
            todo = plan(node, manager)
        if not todo.empty:
            used = _converge(todo, manager, actor, console, verb, watch)
        warning = manager.persist() if node.services else ""
        if warning and not todo.empty:
            console.warn(warning)
    console.phase("waiting for answers")
    with watch.phase("await-engines"):
        answers = wait(node, manager, timeout, reviver(node, manager, console))
    return Outcome(answers, not todo.empty, used, watch.seconds)


def _converge(
    todo: Plan, manager: ServiceManager, actor: Actor, console: Console, verb: str, watch: Stopwatch
) -> Engine:
    """Do what is to be done, once nothing is in its way; return what did it."""
    node = todo.node
    if require_root(node, verb):
        # What Chef starts has no terminal that sudo could ask on.
        actor.root.at_hand()
    with watch.phase("await-tasks"):
        busy = busy_engines.of(past(node), ended(todo, manager))
        busy_engines.insist(busy, "this", busy_engines.said(os.environ), console.phase)
    checks.room(_folders(node))
    for doubt in checks.doubts(node.settings):
        console.warn(doubt)
    # What Chef is given of the node names this file.
    steps.write_variables(node, actor)
    with watch.phase("choose-converge"):
        used = engine_choice.choose(node, actor, os.environ, console.phase)
    console.phase(f"converging with the {used.name} engine: {used.why}")
    return engine_choice.converge(node, used, actor, lambda: carry_out(todo, manager, actor, console, watch), watch)


def past(node: Node) -> Node:
    """Return the node that runs now, where it is another."""
    return steps.former(Path(node.home)) or node


def ended(todo: Plan, manager: ServiceManager) -> set[str]:
    """Return the services that run and that a plan stops or starts anew."""
    if todo.leave:
        return set(past(todo.node).services)
    # What has lost its service manager runs as well, and is ended to be kept again.
    runs = {*steps.running(manager), *(process.name for process in processes.ours(past(todo.node)).services)}
    return runs.intersection({*todo.stop, *todo.start})


def reviver(node: Node, manager: ServiceManager, console: Console) -> Revive:
    """Return what starts engines anew that do not find their controller."""

    def revive(names: Sequence[str]) -> None:
        console.phase(f"restarting {', '.join(names)}: not registered with the controller after {REGISTERS:.0f} s")
        with locked(node, "cncp up"):
            steps.stop_services(node, manager, names)
            digests = steps.wanted(node).services
            manager.start({name: digests[name] for name in names})

    return revive


def carry_out(todo: Plan, manager: ServiceManager, actor: Actor, console: Console, watch: Stopwatch) -> None:
    """Do all that a plan says with the embedded engine."""
    node = todo.node
    with watch.phase("prepare"):
        steps.prepare(node, manager, actor, console.phase)
    with watch.phase("files"):
        if todo.files or todo.secrets:
            console.phase(f"writing {plural(len(todo.files) + len(todo.secrets), 'file')}")
        # With the keys in place the services' digests are final.
        wanted = steps.wanted(node)
        embedded.apply(embedded.changes(steps.own(wanted.resources)), actor)
        steps.units(node, actor)
        embedded.remove(steps.removals(node, wanted), actor)
    with watch.phase("services"):
        steps.settle(node, manager, actor, console.phase)
