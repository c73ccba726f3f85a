"""The steps from node attributes to a running cluster that both engines of convergence share.

Chef or the embedded engine installs the files; what comes before and after is here. Every step
looks at the machine itself, so that it can be cut off anywhere and taken up again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cncp import files
from cncp.install.stamp import STAMP, of_engines
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files, engine_variables, login_environment, manifest, removal
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.desired import Desired, desired
from cncp.machine.jupyter import notebooks, service
from cncp.machine.node import NODE, Node
from cncp.machine.ops import port_check
from cncp.machine.resources import Directory, Resource
from cncp.machine.services import ServiceManager, ServiceState, service_manager, systemd
from cncp.machine.services.base import running_process, sweep, unkept
from cncp.machine.services.kinds import KINDS, split
from cncp.machine.services.systemd import check_owner
from cncp.records import Record

Say = Callable[[str], None]
"""Tells the user what goes on."""


@dataclass(frozen=True)
class Services(Record):
    """Which services a step stops and starts, by name."""

    stop: tuple[str, ...]
    start: tuple[str, ...]


def environment_digest(node: Node) -> str:
    """Return what controller and engines run with, of the stamp that the virtualenv's installation left."""
    stamp = STAMP.intact(Path(node.home))
    return files.to_json(of_engines(stamp)).decode() if stamp else ""


def manifest_path(node: Node) -> Path:
    """Return where the memory of what was written is."""
    return Path(node.home) / "manifest.json"


def former(home: Path) -> Node | None:
    """Return the node of the last run, None where there was none or its record is damaged.

    Raises CncpError where a newer version made it, which is not to be taken for none.
    """
    return NODE.intact(home)


def wanted(node: Node) -> Desired:
    """Return the desired state with the virtualenv and the keys that are there now."""
    identity = connection_files.digest(node)
    return desired(node, environment=environment_digest(node), identity=identity, access=service.digest(node))


def _resources(node: Node, goal: Desired) -> tuple[Resource, ...]:
    """Return all that is to be there, the secret files too."""
    return (*goal.resources, *connection_files.resources(node))


def removals(node: Node, goal: Desired) -> tuple[str, ...]:
    """Return what earlier runs wrote of the account's own, and nothing wants any more."""
    known = manifest.load(manifest_path(node))
    kept = {resource.path for resource in _resources(node, goal)}
    return tuple(
        path
        for path, (owner, kind) in sorted(known.made.items(), reverse=True)
        if owner == "login" and path not in kept and kind in ("file", "link") and os.path.lexists(path)
    )


def stale_units(node: Node, goal: Desired) -> tuple[str, ...]:
    """Return units of the system that nothing wants any more: root takes them away."""
    if node.scope != "system":
        return ()
    return tuple(systemd.stale(node.prefix, {resource.path for resource in goal.resources}))


def own(resources: Sequence[Resource]) -> list[Resource]:
    """Return what is the account's own to install; the rest are units of the system."""
    return [resource for resource in resources if resource.owner == "login"]


def units(node: Node, actor: Actor) -> list[str]:
    """Have root bring the system's units to what is wanted; return in words what was changed."""
    if node.scope != "system":
        return []
    return actor.root.units(node, wanted(node).services) if units_planned(node) else []


def units_planned(node: Node) -> list[str]:
    """Return in words what ``units`` would change."""
    goal = wanted(node)
    found = embedded.changes([resource for resource in goal.resources if resource.owner == "root"])
    planned = [f"{change.action} {change.path}" for change in found]
    return planned + [f"remove {path}" for path in stale_units(node, goal)]


def running(manager: ServiceManager) -> dict[str, str]:
    """Return the digests of all services that run, by name."""
    return digests(manager.states())


def digests(states: Mapping[str, ServiceState]) -> dict[str, str]:
    """Return the digests of those services that run."""
    return {name: state.digest for name, state in states.items() if state.running}


def services(goal: Desired, seen: dict[str, str], kinds: Collection[str] = KINDS) -> Services:
    """Compare services that are wanted with those that run, and return what is to be done."""

    def concerned(name: str) -> bool:
        return split(name)[0] in kinds

    return Services(
        stop=tuple(name for name in seen if name not in goal.services and concerned(name)),
        start=tuple(name for name, digest in goal.services.items() if seen.get(name) != digest and concerned(name)),
    )


def leaving(node: Node) -> str:
    """Say which service manager, scope or profile of this home is to be left; "" when none is."""
    past = former(Path(node.home))
    if past is None or _place(past) == _place(node):
        return ""
    return f"leaving {past.manager} ({past.scope}) for {node.manager} ({node.scope})"


def preparations(node: Node, manager: ServiceManager) -> list[str]:
    """Return in words what ``prepare`` would do. Changes nothing."""
    left = leaving(node)
    stop = services(wanted(node), running(manager)).stop
    return [
        *([left] if left else []),
        *([f"stop {', '.join(stop)}"] if stop else []),
        *connection_files.outdated(node),
        *service.outdated(node),
        *engine_variables.outdated(node.settings.environment, node.home),
    ]


def prepare(node: Node, manager: ServiceManager, actor: Actor, say: Say) -> list[str]:
    """Do what comes before files are written; return in words what was changed.

    A former service manager is left, services that are not wanted are stopped, what is about to be
    written is noted, and keys, ports and connection files are there in the end.
    """
    check_owner(node)
    changed = _leave_former(node, actor, say)
    seen = running(manager)
    changed += end_unkept(node, manager, say)
    port_check.check(node, set(seen))
    service.check(node, set(seen))
    goal = wanted(node)
    stop = services(goal, seen).stop
    if stop:
        say(f"stopping {', '.join(stop)}")
        stop_services(node, manager, stop)
        changed.append(f"stopped {', '.join(stop)}")
    login = Path(node.account.home)
    # Where nothing says any more what is ours, that is not to be taken for somebody else's.
    ipython = {Path(node.profile_dir).parent, login / ".ipython"}
    memory = removal.remembered(Path(node.home), login, ipython, Path(node.source) / "notebooks")
    memory.claim(tuple(own(_resources(node, goal))), actor)
    folders = [
        resource
        for resource in goal.resources
        if isinstance(resource, Directory) and resource.part in ("home", "profile")
    ]
    embedded.apply(embedded.changes(folders), actor)
    secret = [*connection_files.write(node, actor), *service.write(node, actor), *write_variables(node, actor)]
    changed += [f"wrote {path} (content not shown)" for path in secret]
    return changed + [f"copied {path}" for path in notebooks.offer(node, memory, actor)]


def write_variables(node: Node, actor: Actor) -> list[str]:
    """Write the variables of the engines, or remove them where there are none; return the path if it was changed."""
    if not engine_variables.outdated(node.settings.environment, node.home):
        return []
    path, content = engine_variables.path(node.home), engine_variables.content(node.settings.environment)
    if content is None:
        actor.remove(path)
    else:
        actor.write(path, content, engine_variables.SECRET)
    return [str(path)]


def settle(node: Node, manager: ServiceManager, actor: Actor, say: Say, kinds: Collection[str] = KINDS) -> Services:
    """Do what comes after files were written: forget what was removed, reload, stop, start."""
    goal = wanted(node)
    memory = manifest.load(manifest_path(node))
    _forget(memory, {resource.path for resource in _resources(node, goal)}, Path(node.account.home), actor)
    memory.save(actor)
    todo = services(goal, running(manager), kinds)
    if todo.stop:
        say(f"stopping {', '.join(todo.stop)}")
        stop_services(node, manager, todo.stop)
    if todo.start:
        # Our own folder of programs is there by now, which login files take into the PATH once it is.
        login_environment.refresh(node, actor)
    if goal.services:
        manager.reload()
    if todo.start:
        say(f"starting {', '.join(todo.start)}")
        manager.start({name: goal.services[name] for name in todo.start})
    return todo


def _forget(memory: manifest.Manifest, kept: Collection[str], login: Path, actor: Actor) -> None:
    """Forget what was removed, and with it the folders of units in which nothing is left."""
    for path, (owner, kind) in sorted(memory.made.items(), reverse=True):
        gone = path not in kept
        if owner == "login" and gone and kind == "directory" and Path(path).parent == systemd.user_dir(login):
            actor.rmdir(Path(path))
        # Those of root, which earlier versions noted here, are known by their names.
        if owner != "login" or (gone and not os.path.lexists(path)):
            del memory.made[path]


def stop_services(node: Node, manager: ServiceManager, names: Sequence[str]) -> None:
    """Stop services, and have the hub forget engines that had no time to say goodbye themselves."""
    uuids = {running_process(node, name).uuid for name in names} - {""}
    manager.stop(names)
    document = connection_files.client(node)
    if not uuids or document is None or "controller" in names:
        return
    with Hub(document, node.local_address) as hub, contextlib.suppress(NoAnswer):
        for number, uuid in hub.engines().items():
            if uuid in uuids:
                hub.unregister(number, uuid)


def restart_services(node: Node, manager: ServiceManager, actor: Actor, names: Sequence[str]) -> None:
    """Stop services and start them as they are to run today; those that are wanted no more stay stopped."""
    stop_services(node, manager, names)
    login_environment.refresh(node, actor)
    manager.start({name: digest for name, digest in wanted(node).services.items() if name in names})


def end_unkept(node: Node, manager: ServiceManager, say: Say) -> list[str]:
    """End what runs of ours without a service manager that looks after it; return in words what was done."""
    left = unkept(node, manager, manager.states())
    if not left.services and not left.keepers:
        return []
    names = ", ".join(sorted({process.name for process in left.services})) or "what kept services"
    say(f"ending {names}: left by a service manager that is gone")
    # First those that would start the others anew; they end what they keep.
    for pids in ([keeper.pid for keeper in left.keepers], [process.pid for process in left.services]):
        _end(pids)
    sweep(node, [process.name for process in left.services])
    return [f"ended {names}"]


def _end(pids: Sequence[int]) -> None:
    """End processes, by force those that have not ended after a while."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
            processes[-1].terminate()
    for process in psutil.wait_procs(processes, timeout=10)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=2)


def _leave_former(node: Node, actor: Actor, say: Say) -> list[str]:
    """Stop what another service manager, scope or profile of this home ran before."""
    left = leaving(node)
    past = former(Path(node.home))
    if not left or past is None:
        return []
    say(left)
    manager = service_manager(past, actor)
    manager.stop(list(running(manager)))
    manager.forget()
    if past.scope == "system":
        actor.root.remove(past.prefix)
        manager.reload()
    return [left]


def _place(node: Node) -> tuple[str, str, str]:
    return node.manager, node.scope, node.prefix
