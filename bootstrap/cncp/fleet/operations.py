"""What the members of a cluster say of themselves, put together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cncp.config.inventory import LOCAL
from cncp.errors import CncpError
from cncp.files import PARENTS
from cncp.fleet import registry, tunnel_grants
from cncp.fleet.member import Member, Said
from cncp.fleet.model import SHARED
from cncp.fleet.scene import Scene
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.doctor import Finding
from cncp.machine.ops.status import Status
from cncp.ssh.host_errors import HostError
from cncp.ssh.rpc import call

_REGISTERS = 60.0  # s within which an engine is known to its controller


def status(scene: Scene, names: Collection[str] | None = None) -> list[Status]:
    """Return the services of all members, or of these, engines with their id and state at the controller."""
    found = scene.each(lambda member: member.status(), names)
    # The controller's machine has told all of its own.
    running = [row.uuid for name in scene.others for row in found.get(name, ()) if row.state == "running"]
    known = _known(scene, list(filter(None, running))) if any(running) else {}
    return [
        row if name not in scene.others or known is None else _at_controller(row, known)
        for name, rows in found.items()
        for row in rows
    ]


def _at_controller(row: Status, known: Mapping[str, Any]) -> Status:
    """Return a service with what the controller knows of it, where its machine could not tell more."""
    if row.state != "running":
        return row
    seen = known.get(row.uuid)
    return replace(row, **{"busy": 0.0, **seen}) if seen else replace(row, state="starting")


def _known(scene: Scene, uuids: Collection[str]) -> Mapping[str, Any] | None:
    """Return what the controller knows of engines; None, and a failure of its host, where it cannot be asked."""
    try:
        return dict(scene.roll_call(uuids)["engines"])
    except CncpError as error:
        scene.failures[scene.inventory.controller.name] = error
        return None


def check(scene: Scene, *, from_hosts: bool) -> list[Finding]:
    """Return what is wrong on each member; with ``from_hosts`` also what keeps it from the controller."""
    found = [*scene.each(lambda member: member.check()).values(), list(_unknown_engines(scene))]
    ways = scene.each(lambda member: member.way(), scene.others) if from_hosts else {}
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
    """Have every member that is to run engines run so many."""
    engines = [host.name for host in scene.inventory.hosts]
    return scene.each(lambda member: member.scale(count, manners, as_json=as_json), engines)


def down(scene: Scene, manners: Manners) -> dict[str, Said]:
    """Stop the engines of all members, then the controller."""

    def stop(member: Member) -> Said:
        return member.down(manners)

    return {**scene.each(stop, scene.others), **scene.each(stop, [scene.inventory.controller.name])}


def uninstall(scene: Scene) -> Iterator[dict[str, Said]]:
    """Take all away: engines first, this machine last; yield what members say.

    A home that several share is cleared by the last of them.
    """
    head = scene.inventory.controller.name
    others = [name for name in scene.others if name != LOCAL]
    for names in (others, [head], [LOCAL] if head != LOCAL else []):
        replies = scene.each(lambda member: member.uninstall(), names)
        for name in replies:
            if name in scene.places:
                _clear(scene, name)
        yield replies


def _clear(scene: Scene, name: str) -> None:
    """Remove a host's folder, and what its home's hosts shared when it was the last of them."""
    stale = {one for one in tunnel_grants.load(scene.home) if name in (one.machine, one.engines)}
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
        call(host, "remove", mine.home, PARENTS)
        if mine.shared and not shared_by:
            call(host, "remove", SHARED, PARENTS)
    registry.save(scene.home, scene.places)
