"""What the machines of a cluster say of themselves, put together."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from cncp.config.inventory import LOCAL
from cncp.config.variables import switched
from cncp.errors import CncpError
from cncp.files import PARENTS
from cncp.fleet import membership, registry, tunnel_grants
from cncp.fleet.any_machine import Machine, Said
from cncp.fleet.model import SHARED
from cncp.fleet.scene import Scene
from cncp.machine.ops import busy_engines, joined_engines, steps
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.engine_states import EngineState
from cncp.machine.ops.status import Status
from cncp.pools import counts
from cncp.pools.base import Pool
from cncp.pools.former_pools import Former
from cncp.ssh.host_errors import HostError
from cncp.ssh.rpc import REMOVE, call

_REGISTERS = 60.0  # s within which an engine is known to its controller


def status(scene: Scene, names: Collection[str] | None = None) -> list[Status]:
    """Return the services of all machines, or of these, engines with their id and state at the controller.

    With all of them come those of pools that are no hosts to be asked.
    """
    found = scene.each(lambda machine: machine.status(), names)
    # The controller's machine has told all of its own.
    running = [row.uuid for name in scene.others for row in found.get(name, ()) if row.state == "running"]
    known = _known(scene, list(filter(None, running))) if any(running) else {}
    services = [
        row if name not in scene.others or known is None else _at_controller(row, known)
        for name, rows in found.items()
        for row in rows
    ]
    if names is not None or not scene.whole:
        return services
    hosts = [host.name for host in scene.inventory.everyone]
    return [*services, *_joined(scene, services, hosts), *membership.rows(scene.pools, hosts, scene.failures)]


def _joined(scene: Scene, services: Sequence[Status], hosts: Collection[str]) -> Sequence[Status]:
    """Return engines of machines that joined by themselves, where this machine has the controller and knows of all."""
    node = steps.former(scene.home)
    if switched(os.environ, "CNCP_HERE") or not scene.inventory.controller.local or node is None:
        return ()
    return joined_engines.of(node, {row.uuid for row in services}, hosts)


def _at_controller(row: Status, known: Mapping[str, EngineState]) -> Status:
    """Return a service with what the controller knows of it, where its machine could not tell more."""
    if row.state != "running":
        return row
    seen = known.get(row.uuid)
    if seen is None:
        return replace(row, state="starting")
    return replace(row, id=seen.id, state=seen.state, busy=seen.busy)


def _known(scene: Scene, uuids: Collection[str]) -> Mapping[str, EngineState] | None:
    """Return what the controller knows of engines; None, and a failure of its host, where it cannot be asked."""
    try:
        return scene.roll_call(uuids).engines
    except CncpError as error:
        scene.failures[scene.inventory.controller.name] = error
        return None


def check(scene: Scene, *, from_hosts: bool) -> list[Finding]:
    """Return what is wrong on each machine; with ``from_hosts`` also what keeps it from the controller."""
    found = [*scene.each(lambda machine: machine.check()).values(), list(_unknown_engines(scene))]
    former = [pool for pool in scene.pools if isinstance(pool, Former)]
    found.append(membership.of_former(former, membership.observed(former)))
    ways = scene.each(lambda machine: machine.way(), scene.others) if from_hosts else {}
    return [finding for findings in (*found, *ways.values()) for finding in findings]


def _unknown_engines(scene: Scene) -> Iterator[Finding]:
    """Yield what is wrong with engines that run on their host, which is all that it can tell by itself."""
    for row in status(scene, scene.others):
        look = f"look at: cncp logs --limit {row.host} --name {row.name}"
        if row.state == "starting":
            # The controller may have moved; its address is in what `up` brings.
            remedy = "wait a moment" if row.uptime < _REGISTERS else f"cncp up --limit {row.host}; {look}"
            yield Finding(f"{row.name} runs, but the controller does not know it", remedy, row.host)
        elif row.state == "silent":
            remedy = f"cncp restart --limit {row.host} --name {row.name}; {look}"
            yield Finding(f"{row.name} runs, but does not answer the controller", remedy, row.host)


def scale(scene: Scene, count: str, manners: Manners, *, as_json: bool = False) -> dict[str, Said]:
    """Have every machine that is to run engines run so many."""
    engines = [host.name for host in scene.inventory.hosts]
    return scene.each(lambda machine: machine.scale(count, manners, as_json=as_json), engines)


def down(scene: Scene, manners: Manners) -> dict[str, Said]:
    """Stop the engines of all machines, then the controller; then have pools let go of what runs none any more."""

    def stop(machine: Machine) -> Said:
        return machine.down(manners)

    head = scene.inventory.controller.name
    said = {**scene.each(stop, scene.others), **scene.each(stop, [head])}
    refused = scene.machines.keys() & scene.failures.keys()
    limit = {host.name for host in scene.limit}

    def idle(name: str) -> bool:
        # Of engines that are on no host that was asked, the controller's machine has answered.
        asked = name if name in scene.machines else head
        return (scene.whole or name in limit) and asked not in refused

    scene.failures.update(membership.released(scene.pools, idle, scene.console.phase))
    return said


def scale_pool(scene: Scene, pool: Pool, count: str, manners: Manners) -> dict[str, Said]:
    """Have a pool be so large from here on. Members that are more are let go, busy ones as ``manners`` say.

    Those that are fewer come with the next `up`. Where it is refused nothing has changed.
    """
    pool.scale(int(count) + ((pool.count or 0) if count[0] in "-+" else 0))
    surplus = list(pool.surplus())
    try:
        busy_engines.insist(lambda: list(pool.drain(surplus)), f"scale {count}", manners, scene.console.phase)
    except BaseException:
        pool.drain(surplus, hold=False)
        raise
    said = scene.each(lambda machine: machine.down(manners), surplus)
    # One that cannot be reached has nobody's engines any more.
    going = [name for name in surplus if name not in scene.machines or name in said]
    if going:
        pool.release(going, scene.console.phase)
        membership.forget(scene.home, going)
    if isinstance(pool, Former):
        membership.settled([pool], membership.observed([pool]), scene.console.phase)
    else:
        counts.keep(pool)
    return said


def uninstall(scene: Scene) -> Iterator[dict[str, Said]]:
    """Take all away: engines first, then what pools have made, this machine last; yield what machines say.

    A home that several share is cleared by the last of them. Where a pool fails this machine stays: it alone knows
    what there still is.
    """
    head = scene.inventory.controller.name
    yield _uninstalled(scene, [name for name in scene.others if name != LOCAL])
    if head != LOCAL:
        yield _uninstalled(scene, [head])
    if scene.whole:
        discarded = membership.discarded(scene.pools, scene.console.phase)
        membership.forget(scene.home, {name for gone in discarded.results.values() for name in gone})
        scene.failures.update(discarded.failures)
        if discarded.failures:
            return
    yield _uninstalled(scene, [LOCAL])


def _uninstalled(scene: Scene, names: Collection[str]) -> dict[str, Said]:
    replies = scene.each(lambda machine: machine.uninstall(), names)
    for name in replies:
        if name in scene.places:
            _clear(scene, name)
    return replies


def _clear(scene: Scene, name: str) -> None:
    """Remove a host's folder, and what its home's hosts shared when it was the last of them."""
    stale = {gate for gate in tunnel_grants.load(scene.home) if name in (gate.machine, gate.engines)}
    for gate in tunnel_grants.close(scene.home, stale, scene.places, scene.reach):
        scene.failures[gate.machine] = HostError(
            gate.machine,
            f"it still lets the tunnel of {gate.engines} in",
            f"take the line with {gate.key[-16:]} out of its authorized_keys",
        )
    mine = scene.places.pop(name)
    shared_by = [placed for placed in scene.places.values() if set(placed.shared) & set(mine.shared)]
    with scene.reach(name) as host:
        assert host is not None  # noqa: S101  # it has just answered
        call(host, REMOVE, mine.home, PARENTS)
        if mine.shared and not shared_by:
            call(host, REMOVE, SHARED, PARENTS)
    registry.save(scene.home, scene.places)
