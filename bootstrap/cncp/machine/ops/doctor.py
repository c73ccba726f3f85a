"""What can be wrong with a cluster, how it shows, and what to do about it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import duration
from cncp.field_types import ShortText, Text
from cncp.ipp import keys
from cncp.ipp.connection_file import CLIENT, ENGINE
from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import Hub, NoAnswer, asked
from cncp.machine import connection_files
from cncp.machine.jupyter import service
from cncp.machine.node import Node
from cncp.machine.ops import checks, meeting_findings, port_check, steps
from cncp.machine.ops.readiness import REGISTERS
from cncp.machine.ops.status import Status, status
from cncp.machine.services import ServiceManager, logs
from cncp.machine.services.base import unkept
from cncp.records import Record

_SPACE = 50 * 2**20
_AGAIN = 3  # ends of a service that are no accident
_ANSWER = 3.0  # s that a controller elsewhere has


@dataclass(frozen=True)
class Finding(Record):
    """One thing that is wrong: a line of what, a line of what to do, and with which machine."""

    what: Text
    remedy: Text
    host: ShortText = ""


def examine(node: Node, manager: ServiceManager) -> list[Finding]:
    """Look at everything that is known to go wrong. Changes nothing."""
    seen = status(node, manager)
    return [
        *_disk(node),
        *_logs(node),
        *_permissions(node),
        *_files(node),
        *_unkept(node, manager),
        *_ports(node, seen),
        *_services(node, seen),
        *_ids(node, seen),
        *_far(node, seen),
        *(Finding(problem, remedy) for problem, remedy in meeting_findings.findings(node)),
        *_versions(node, manager),
        *_boot(manager),
    ]


def _disk(node: Node) -> Iterator[Finding]:
    folders = [Path(node.home), Path(node.profile_dir), node.log_dir]
    for problem in checks.full(folders, _SPACE):
        yield Finding(problem, "make room: logs and results cannot be written")


def _logs(node: Node) -> Iterator[Finding]:
    if node.services and node.settings.logs == "files" and not node.log_dir.is_dir():
        yield Finding(f"{node.log_dir} is gone: a service that ends cannot start again", "cncp up makes it again")


def _permissions(node: Node) -> Iterator[Finding]:
    secret = [node.identity, node.security_dir / CLIENT, node.security_dir / ENGINE]
    for path in (*secret, node.security_dir, service.access_path(node), service.folder(node)):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(f"{path} is open to other users", "cncp up closes it; rotate the keys if others were there")
        if path.exists() and path.stat().st_uid != node.account.uid:
            yield Finding(f"{path} does not belong to {node.account.name}", f"chown {node.account.name} {path}")


def _files(node: Node) -> Iterator[Finding]:
    if not node.controller:
        if not (node.security_dir / ENGINE).exists():
            yield Finding("the engines have no connection file", "copy ipcontroller-engine.json from the controller")
        return
    if keys.load(node.identity) is None:
        yield Finding(
            f"{node.identity} is missing or damaged", "cncp up makes new keys and ports; copy them to clients"
        )
    elif connection_files.outdated(node):
        yield Finding("the connection files do not fit the cluster's keys and settings", "cncp up writes them again")


def _ports(node: Node, seen: list[Status]) -> Iterator[Finding]:
    controller = next((entry for entry in seen if entry.name == "controller"), None)
    if controller is None or controller.pid:
        return
    for port, owner in port_check.taken(node).items():
        yield Finding(
            f"port {port} of the controller is taken" + (f" by {owner}" if owner else ""),
            "end that program, or have other ports chosen: cncp up --ports LOW-HIGH",
        )


def _unkept(node: Node, manager: ServiceManager) -> Iterator[Finding]:
    left = unkept(node, manager, manager.states())
    if left.services:
        names = ", ".join(sorted({process.name for process in left.services}))
        yield Finding(f"the service manager of {names} is gone: nothing restarts them", "cncp up")


def _services(node: Node, seen: list[Status]) -> Iterator[Finding]:
    controller = next((entry for entry in seen if entry.name == "controller"), None)
    for entry in seen:
        look = f"look at: cncp logs --name {entry.name}"
        if entry.restarts >= _AGAIN and entry.state in ("starting", "silent") and entry.uptime < REGISTERS:
            cause = f"{entry.last_exit or 'cause unknown'}{logs.ending(node, entry.name)}"
            yield Finding(
                f"{entry.name} ends again and again ({entry.restarts} times): {cause}",
                f"mend that, then: cncp up; {look}",
            )
        elif entry.state == "starting" and controller is not None and controller.state != "up":
            # What is said of the controller mends its engines as well.
            continue
        elif entry.state == "starting" and entry.uptime > REGISTERS:
            at = connection_files.dialled(node)
            yield Finding(
                f"{entry.name} has run for {duration(entry.uptime)} and has not reached the controller at {at}",
                f"cncp up starts it anew; {look}",
            )
        elif entry.state == "down":
            yield Finding(
                f"{entry.name} does not run" + (f": {entry.last_exit}" if entry.last_exit else ""), f"cncp up; {look}"
            )
        elif entry.state == "connecting":
            yield Finding(f"{entry.name} is not connected", look)
        elif entry.state == "starting":
            yield Finding(
                f"{entry.name} runs but is not registered", f"wait a moment, or: cncp restart --name {entry.name}"
            )
        elif entry.state == "silent":
            yield Finding(f"{entry.name} runs but does not answer", f"cncp restart --name {entry.name}; {look}")
        elif entry.state == "stopped":
            yield Finding(f"{entry.name} is suspended (SIGSTOP)", f"kill -CONT {entry.pid}")


def _ids(node: Node, seen: list[Status]) -> Iterator[Finding]:
    """Look for engines of this machine that the controller has and that do not run: tasks go to them."""
    document = connection_files.client(node)
    if document is None or not any(entry.name == "controller" and entry.state == "up" for entry in seen):
        return
    try:
        with Hub(document, node.local_address) as hub:
            engines = hub.engines()
    except NoAnswer:
        return
    running = {entry.uuid for entry in seen if entry.pid}
    for number, uuid in sorted(engines.items()):
        place = slot(uuid)
        if place is not None and place[0] == host_in(node.host) and uuid not in running:
            yield Finding(
                f"id {number} of the controller belongs to no engine that runs (engine-{place[1]} of before)",
                "it goes within the tolerance; at once: cncp restart controller",
            )


def _far(node: Node, seen: list[Status]) -> Iterator[Finding]:
    """Find engines that a controller elsewhere does not know: it answers them, too."""
    document = connection_files.engine(node)
    engines = [entry for entry in seen if entry.state == "running" and entry.uuid]
    if node.controller or document is None or not engines:
        return
    known = asked(document, lambda hub: set(hub.engines(_ANSWER).values()))
    if known is None:
        yield Finding(
            f"the controller does not answer at {connection_files.engines_dial(node)}",
            "cncp check on its machine; where it has moved: cncp up on the machine in charge",
        )
        return
    for engine in engines:
        if engine.uuid not in known and engine.uptime > REGISTERS:
            yield Finding(
                f"{engine.name} has run for {duration(engine.uptime)} and is not registered with the controller",
                f"cncp restart --name {engine.name}; look at: cncp logs --name {engine.name}",
            )


def _versions(node: Node, manager: ServiceManager) -> Iterator[Finding]:
    wanted = steps.wanted(node).services
    for name, state in manager.states().items():
        if state.running and name in wanted and state.digest and state.digest != wanted[name]:
            yield Finding(
                f"{name} runs with an older configuration or version", f"cncp up, or: cncp restart --name {name}"
            )
        if state.running and name not in wanted:
            yield Finding(f"{name} runs but is not wanted", "cncp up stops it")


def _boot(manager: ServiceManager) -> Iterator[Finding]:
    problem, _, remedy = manager.mortal().partition(": ")
    if problem:
        yield Finding(problem, remedy)
