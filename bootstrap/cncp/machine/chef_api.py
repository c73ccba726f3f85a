"""The desired state as JSON for the cookbook, and the steps that no resource of Chef's can do.

    venv/bin/python -I -Xutf8 -m cncp.remote chef VERB [--dry-run] [controller|engine|jupyter|SECONDS]

Standard input holds the node attributes, each of them optional: ``settings`` (of the cluster;
those left out have their defaults), ``engine_ids``, ``path`` (the services' PATH), ``machine``
(what ``Node.document`` returned: every choice is made) and ``busy`` (what becomes of the tasks of
engines that are to end: ``wait`` s for them, then lost with ``force``, as without ``busy``, or refused).
CNCP_HOME and CNCP_USER say whose cluster it is. The answer is JSON on standard output; no secret is ever in it.

desired   user, group, home, environment; resources in their order, each with kind, path, mode,
          owner, part and source, content or target; removals; services with the digests they are to
          run with, running with those they do
install   files of the parts named, by cncp itself, and units of the system: changed, in words
units     units of the system, which root has to install: changed, in words
prepare   what comes before the files are written: changed, in words
services  stop, reload, start (all services or those of one kind): stop, start, warning
stop      stop those of the kinds named that run: stop
restart   stop those that run, and start them as they are to run: stop
wait      wait until the engines answer, for 60 SECONDS or as many as are given: answering, engines
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil

from cncp.accounts import home
from cncp.config import sources
from cncp.config.settings import layer
from cncp.console import Console, answered
from cncp.errors import UsageError
from cncp.field_types import Within
from cncp.files import holder
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.node import Node
from cncp.machine.ops import apply, busy_engines, readiness, steps
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.resources import Directory, Entry, Resource
from cncp.machine.services import ServiceManager, kinds, service_manager
from cncp.machine.services.kinds import KINDS, split
from cncp.machine.services.startup import START_TIMEOUT
from cncp.records import Misfit, Record

LOST = Manners(force=True)
"""What becomes of engines at work where nothing else is said: who runs Chef says when."""

_PARTS = ("home", "profile", "units")
"""Parts of what is installed beside those of the kinds of services."""


@dataclass(frozen=True)
class Given(Record):
    """The node attributes."""

    strict = True

    settings: Mapping[str, object] | None = None
    engine_ids: tuple[Annotated[int, Within(0, 1023)], ...] | None = None
    path: str | None = None
    machine: Node | None = None
    busy: Manners = LOST

    @staticmethod
    def read(content: str | Mapping[str, object]) -> Given:
        """Read standard input, or an object. Raises UsageError."""
        try:
            return Given.from_json(content or "{}", "node attributes")
        except Misfit as error:
            raise UsageError(error.message, 'give {"settings": {"engines": 4}}, for example') from None


@dataclass(frozen=True)
class Removal(Record):
    """A path that nothing wants any more, and whose part it was."""

    path: str
    part: str


@dataclass(frozen=True)
class Wanted(Record):
    """What ``desired`` answers."""

    environment: str
    group: int
    home: str
    removals: tuple[Removal, ...]
    resources: tuple[Entry, ...]
    running: Mapping[str, str]
    services: Mapping[str, str]
    units: bool
    user: str


@dataclass(frozen=True)
class Changed(Record):
    """What was changed, or in a dry run would be, in words."""

    changed: tuple[str, ...]


@dataclass(frozen=True)
class Settled(Record):
    """The services that were stopped and started, or would be, and what is to be said of it."""

    stop: tuple[str, ...]
    start: tuple[str, ...]
    warning: str


@dataclass(frozen=True)
class Stopped(Record):
    """The services that were stopped, or restarted."""

    stop: tuple[str, ...]


@dataclass(frozen=True)
class Answering(Record):
    """How many engines there are, and how many of them answer."""

    answering: int
    engines: int


def describe(given: Given, environment: Mapping[str, str]) -> Node:
    """Make the node that was described. Raises UsageError on what makes no sense."""
    raw = {key: value for key, value in (given.settings or {}).items() if value is not None}
    values = layer("node attributes", raw)
    if given.machine is not None:
        return given.machine
    role = {"role": values.values["role"]} if "role" in values.values else {}
    defaults = asdict(sources.complete([layer("defaults", role)]))
    # Chef hands over all attributes, the defaults too; those that say nothing new were not chosen.
    chosen = {key: value for key, value in values.values.items() if key == "role" or value != defaults[key]}
    settings = sources.complete([layer("node attributes", chosen)])
    present = given.engine_ids
    if present is None:
        past = steps.former(home(environment))
        present = past.engine_ids if past else ()
    node = apply.choose(environment, settings, present)
    apply.insist(node)
    return node


def desired(node: Node, manager: ServiceManager) -> Wanted:
    """Return all that Chef is to install, and what runs."""
    goal = steps.wanted(node)
    return Wanted(
        environment=steps.environment_digest(node),
        group=node.account.gid,
        home=node.home,
        removals=tuple(Removal(path, _part(node, path)) for path in steps.removals(node, goal)),
        # Units of the system are root's step, whoever installs the rest.
        resources=tuple(_resources(steps.own(goal.resources))),
        running=steps.running(manager),
        services=goal.services,
        units=len(steps.own(goal.resources)) < len(goal.resources),
        user=node.account.name,
    )


def _part(node: Node, path: str) -> str:
    """Return whose a path is that nothing wants any more: a kind of service's, else the profile's."""
    for name in (Path(path).name, Path(path).parent.name.removesuffix(".d")):
        service = kinds.of_unit(node.prefix, name) or Path(name).stem
        kind = split(service)[0] if kinds.known(service) else _kind_of_template(node, name)
        if kind:
            return kind
    return "profile"


def _kind_of_template(node: Node, name: str) -> str:
    return next((kind for kind, row in kinds.KINDS.items() if name == f"{node.prefix}-{row.unit}"), "")


def _resources(resources: Sequence[Resource]) -> Iterator[Entry]:
    """Yield resources as Chef installs them, missing parents first and with an owner of their own."""
    known: set[Path] = set()
    for resource in resources:
        path = Path(resource.path)
        for folder in reversed(path.parents):
            if folder not in known and not folder.is_dir():
                known.add(folder)
                yield Directory(str(folder), 0o755, resource.part, resource.owner).chef()
        known.add(path)
        yield resource.chef()


@contextlib.contextmanager
def locked(node: Node, operation: str) -> Iterator[None]:
    """Keep other runs away; beneath a `cncp up` that already does, there is nothing to lock."""
    held = holder(Path(node.home) / "lock")
    if held and held.pid in {parent.pid for parent in psutil.Process().parents()}:
        yield
        return
    with apply.locked(node, operation):
        yield


def prepare(
    node: Node, manager: ServiceManager, actor: Actor, console: Console, busy: Manners, *, dry: bool
) -> Changed:
    """Do, or say, what comes before the files are written."""
    if dry:
        return Changed(tuple(steps.preparations(node, manager)))
    with locked(node, "chef"):
        if busy != LOST:
            ended = apply.ended(apply.plan(node, manager), manager)
            busy_engines.insist(busy_engines.of(apply.past(node), ended), "this run of Chef", busy, console.phase)
        return Changed(tuple(steps.prepare(node, manager, actor, console.phase)))


def install(node: Node, actor: Actor, parts: Sequence[str], *, dry: bool) -> Changed:
    """Do, or say, with the account's own rights, what Chef does elsewhere: files of these parts, and units."""
    goal = steps.wanted(node)
    found = embedded.changes([resource for resource in steps.own(goal.resources) if resource.part in parts])
    gone = [path for path in steps.removals(node, goal) if _part(node, path) in parts]
    changed = [f"{change.action} {change.path}" for change in found] + [f"remove {path}" for path in gone]
    if not dry:
        embedded.apply(found, actor)
        embedded.remove(gone, actor)
    return Changed((*changed, *(units(node, actor, dry=dry).changed if "units" in parts else ())))


def units(node: Node, actor: Actor, *, dry: bool) -> Changed:
    """Have root bring units of the system to what is wanted, or say what that would change."""
    return Changed(tuple(steps.units_planned(node) if dry else steps.units(node, actor)))


def services(
    node: Node, manager: ServiceManager, actor: Actor, console: Console, kinds: Sequence[str], *, dry: bool
) -> Settled:
    """Do, or say, what comes after the files were written."""
    if dry:
        found = steps.services(steps.wanted(node), steps.running(manager), kinds)
        return Settled(found.stop, found.start, "")
    with locked(node, "chef"):
        done = steps.settle(node, manager, actor, console.phase, kinds)
        return Settled(done.stop, done.start, manager.persist())


def on_running(
    act: Callable[[Sequence[str]], None],
    node: Node,
    manager: ServiceManager,
    console: Console,
    busy: Manners,
    kinds: Sequence[str],
    *,
    dry: bool,
) -> Stopped:
    """Stop or restart, as ``act`` does, services of these kinds that run; or name them."""
    names = [name for name in steps.running(manager) if split(name)[0] in kinds]
    if names and not dry:
        with locked(node, "chef"):
            if busy != LOST:
                busy_engines.insist(busy_engines.of(node, names), "this run of Chef", busy, console.phase)
            act(names)
    return Stopped(tuple(names))


def wait(node: Node, manager: ServiceManager, seconds: Sequence[str]) -> Answering:
    """Wait until the engines answer. Raises CncpError naming those that do not."""
    seen = readiness.wait(node, manager, float(seconds[0]) if seconds else START_TIMEOUT)
    return Answering(len(seen.answering), node.engines)


def answer(words: Sequence[str], given: Given, environment: Mapping[str, str]) -> Record:
    """Do what a command line asks for. Raises CncpError."""
    dry = "--dry-run" in words

    def stop(names: Sequence[str]) -> None:
        steps.stop_services(node, manager, names)

    def restart(names: Sequence[str]) -> None:
        steps.restart_services(node, manager, actor, names)

    verb, *rest = [word for word in words if word != "--dry-run"] or [""]
    verbs: dict[str, Callable[[], Record]] = {
        "desired": lambda: desired(node, manager),
        "prepare": lambda: prepare(node, manager, actor, console, busy, dry=dry),
        "install": lambda: install(node, actor, rest, dry=dry),
        "units": lambda: units(node, actor, dry=dry),
        "services": lambda: services(node, manager, actor, console, rest or list(KINDS), dry=dry),
        "stop": lambda: on_running(stop, node, manager, console, busy, rest or list(KINDS), dry=dry),
        "restart": lambda: on_running(restart, node, manager, console, busy, rest or list(KINDS), dry=dry),
        "wait": lambda: wait(node, manager, rest),
    }
    fits = all(map(str.isdigit, rest[:1])) if verb == "wait" else set(rest) <= {*KINDS, *_PARTS}
    if verb not in verbs or not fits:
        raise UsageError(f"there is no {' '.join(words)!r}", f"VERB is one of {', '.join(verbs)}")
    console, busy = Console(), dataclasses.replace(given.busy, wait=max(0.0, given.busy.wait))
    node = describe(given, environment)
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    return verbs[verb]()


def _answer() -> Record:
    given = Given.read(sys.stdin.read())
    if given.path:
        os.environ["PATH"] = given.path
    return answer(sys.argv[1:], given, os.environ)


def main() -> int:
    """Be the program that the cookbook runs; return its exit code."""
    return answered(_answer)
