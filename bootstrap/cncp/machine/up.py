"""The main job on one machine: make it hold what it is to hold, run what it is to run, and look."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp import attributes, files
from cncp.attributes import Kept
from cncp.cluster import Cluster
from cncp.console import Console
from cncp.errors import CncpError
from cncp.machine import connection, converge, facts, manifest, place, ports
from cncp.machine.actor import Actor
from cncp.machine.desired import Desired, desired
from cncp.machine.health import Answers, wait
from cncp.machine.manifest import Manifest
from cncp.machine.node import Node, installed, resolve
from cncp.machine.services import ServiceManager, service_manager

START_TIMEOUT = 60.0
"""Seconds that engines have to answer: a cold cache on a slow disk takes some of it."""


@dataclass(frozen=True)
class Plan:
    """All that `cncp up` would do."""

    node: Node
    wanted: Desired
    files: tuple[converge.Change, ...]
    removals: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]
    start: tuple[str, ...]
    stop: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """True when there is nothing to do."""
        return not (self.files or self.removals or self.secrets or self.start or self.stop)


@dataclass(frozen=True)
class Request:
    """What one command line asks for: all that `describe` needs beside the machine itself."""

    environment: Mapping[str, str]
    file: Path | None
    flags: Mapping[str, str]
    former: Kept


def request(environment: Mapping[str, str], *, file: str | None, flags: Mapping[str, str], forget: bool) -> Request:
    """Put a request together from a command line; ``forget`` drops what earlier ones said."""
    home = place.home_folder(environment, place.account(environment))
    former = Kept({}) if forget else attributes.kept(home)
    return Request(environment, attributes.find_file(file, environment, former, Path.cwd()), flags, former)


def describe(asked: Request) -> Node:
    """Turn settings and facts into the node attributes of this machine. Changes nothing."""
    wanted = attributes.gather(file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former)
    home = place.home_folder(asked.environment, place.account(asked.environment))
    former = _former(home)
    return choose(asked.environment, wanted, former.engine_ids if former else ())


def choose(environment: Mapping[str, str], wanted: Cluster, present: Sequence[int]) -> Node:
    """Make the choices that settings leave open. ``present``: ids of engines, those to keep first."""
    account = place.account(environment)
    return resolve(
        wanted,
        facts.gather(environment),
        home=place.home_folder(environment, account),
        ipython_dir=place.ipython_folder(environment, account),
        present=present,
    )


def _former(home: Path) -> Node | None:
    """Return the node of the last run, None where there was none or its record is damaged."""
    try:
        return installed(home)
    except CncpError:
        return None


def environment_digest(node: Node) -> str:
    """Return the digest of the virtualenv's content that its installation left."""
    return (files.read_bytes(Path(node.home) / "venv" / "cncp-installed.json") or b"").decode()


def plan(node: Node, manager: ServiceManager) -> Plan:
    """Compare what is with what is to be. Changes nothing."""
    wanted = desired(node, environment=environment_digest(node), identity=connection.digest(node))
    known = manifest.load(manifest_path(node))
    kept = {resource.path for resource in (*wanted.resources, *connection.resources(node))}
    removals = tuple(
        (path, owner)
        for path, (owner, kind) in sorted(known.made.items(), reverse=True)
        if path not in kept and kind in ("file", "link") and os.path.lexists(path)
    )
    states = manager.states()
    running = {name: state for name, state in states.items() if state.running}
    start = tuple(
        name for name, digest in wanted.services.items() if name not in running or running[name].digest != digest
    )
    return Plan(
        node=node,
        wanted=wanted,
        files=tuple(converge.changes(wanted.resources)),
        removals=removals,
        secrets=tuple(connection.outdated(node)),
        start=start,
        stop=tuple(name for name in running if name not in wanted.services),
    )


def manifest_path(node: Node) -> Path:
    """Return where the memory of what was written is."""
    return Path(node.home) / "manifest.json"


@contextlib.contextmanager
def locked(node: Node, actor: Actor, what: str) -> Iterator[None]:
    """Keep a second run away from this machine's cluster."""
    home = Path(node.home)
    if not home.is_dir():
        for folder in reversed([home, *home.parents]):
            if not folder.is_dir():
                actor.mkdir(folder, 0o700 if folder == home else 0o755)
    with actor.as_login():
        stack = contextlib.ExitStack()
        stack.enter_context(files.lock(home / "lock", what))
    with stack:
        yield


def up(node: Node, console: Console, timeout: float = START_TIMEOUT) -> tuple[Answers, bool]:
    """Converge this machine and wait until its engines answer.

    Return what was seen, and whether anything had to be changed.

    Raises CncpError when something cannot be done; what was done until then stays, and the next
    run goes on from there.
    """
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    with locked(node, actor, "cncp up"):
        change_of_manager = _retire_former(node, console)
        todo = plan(node, manager)
        if not todo.empty:
            ports.check(node, {name for name, state in manager.states().items() if state.running})
            carry_out(todo, manager, actor, console)
        warning = manager.persist()
        if warning:
            console.warn(warning)
    console.phase(f"waiting until {node.engines} engines answer")
    return wait(node, manager, timeout), not todo.empty or change_of_manager


def carry_out(todo: Plan, manager: ServiceManager, actor: Actor, console: Console) -> None:
    """Do all that a plan says, in an order that can be cut off anywhere and taken up again."""
    node = todo.node
    memory: Manifest = manifest.load(manifest_path(node))
    memory.claim((*todo.wanted.resources, *connection.resources(node)), actor)
    if todo.files or todo.secrets:
        console.phase(f"writing {len(todo.files) + len(todo.secrets)} files")
    profile = [change for change in todo.files if change.resource.part in ("home", "profile")]
    converge.apply(profile, actor)
    connection.write(node, actor)
    # With the identity in place the services' digests are final.
    wanted = desired(node, environment=environment_digest(node), identity=connection.digest(node))
    converge.apply(converge.changes(wanted.resources), actor)
    if todo.stop:
        console.phase(f"stopping {', '.join(todo.stop)}")
        manager.stop(todo.stop)
    converge.remove(todo.removals, actor)
    for path, _ in todo.removals:
        memory.made.pop(path, None)
    memory.save(actor)
    manager.reload()
    if todo.start:
        console.phase(f"starting {', '.join(todo.start)}")
        manager.start({name: wanted.services[name] for name in todo.start})


def _retire_former(node: Node, console: Console) -> bool:
    """Stop what another service manager, scope or profile of this home ran before."""
    former = _former(Path(node.home))
    if former is None or _place(former) == _place(node):
        return False
    console.phase(f"leaving {former.manager} ({former.scope}) for {node.manager} ({node.scope})")
    manager = service_manager(former, Actor(former.account))
    manager.stop([name for name, state in manager.states().items() if state.running])
    manager.forget()
    return True


def _place(node: Node) -> tuple[str, str, str]:
    return node.manager, node.scope, node.prefix
