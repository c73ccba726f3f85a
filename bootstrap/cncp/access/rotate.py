"""New keys for a cluster: those who hold the old ones are shut out, its own engines get the new ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cncp import keys
from cncp.access import clientfile, idle, where
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.files import to_json
from cncp.fleet.crew import Crew, Outcome, SomeHostsFailed
from cncp.fleet.ssh import Host
from cncp.hub import Hub, NoAnswer
from cncp.inventory import HostSpec
from cncp.machine import connection, steps
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.services import ServiceManager, service_manager
from cncp.machine.up import START_TIMEOUT, locked, up


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: fingerprints before and after, how many engines answer, what failed elsewhere."""

    before: str
    after: str
    engines: int
    running: bool
    hosts: Outcome[str]

    def document(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "before": self.before,
            "after": self.after,
            "engines": self.engines,
            "running": self.running,
            "hosts": dict(self.hosts.results),
            "failed": {name: error.message for name, error in self.hosts.failures.items()},
        }


def rotate(
    node: Node, others: Sequence[HostSpec], console: Console, *, patience: float | None, strict: bool
) -> Rotated:
    """Replace the keys and restart controller and engines with them, those of other hosts too.

    Waits for tasks for up to ``patience`` seconds before anything is changed; None waits for none,
    and goes on where hosts cannot be reached: their engines are shut out. Raises CncpError.
    """
    former = connection.client(node)
    if not node.controller or former is None:
        raise UsageError(
            "this machine has no controller, and so no keys of its own", "run this where the controller is"
        )
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    lost = _unreachable(others, strict=strict)
    if lost and patience is not None:
        raise SomeHostsFailed(lost, len(others), "")
    running = bool(steps.running(manager))
    expected = _registered(node, former) if running else 0
    with locked(node, actor, "cncp keys.rotate"):
        if running and patience is not None:
            console.phase("waiting for the tasks there are")
            ports = clientfile.ports(former)
            idle.wait_idle(former, connection.local_address(node), ports, patience, console.note)
        _stop(node, manager, console)
        console.phase("making new keys")
        with actor.as_login():
            keys.renew(node.identity)
        connection.write(node, actor)
    try:
        if running:
            # Cut off before this, the next `cncp up` does the same.
            up(node, console)
    finally:
        # A connection opened before the wait would have been given up by now.
        with Crew([spec for spec in others if spec.name not in lost], strict=strict) as crew:
            hosts = crew.each(lambda host: _hand_over(host, node, start=running))
    failures = {**lost, **crew.failures, **hosts.failures}
    after = connection.client(node) or {}
    return Rotated(
        before=clientfile.fingerprint(former),
        after=clientfile.fingerprint(after),
        engines=_await(node, 0 if failures else expected) if running else 0,
        running=running,
        hosts=Outcome(hosts.results, failures),
    )


def _stop(node: Node, manager: ServiceManager, console: Console) -> None:
    """Stop what runs, engines first: a controller that goes first has them wait for it."""
    names = [name for name in steps.running(manager) if name in node.services]
    if names:
        console.phase(f"stopping {', '.join(names)}")
        steps.stop_services(node, manager, [name for name in names if name != "controller"])
        steps.stop_services(node, manager, [name for name in names if name == "controller"])


def _unreachable(others: Sequence[HostSpec], *, strict: bool) -> dict[str, CncpError]:
    """Return the hosts that new keys could not be handed to."""
    with Crew(others, strict=strict) as crew:
        return {**crew.failures, **crew.each(where.look).failures}


def _hand_over(host: Host, node: Node, *, start: bool) -> str:
    """Give a host of engines the new keys, on standard input, and restart its engines with them.

    The rest of its file stays: how its engines reach the controller may be its own.
    """
    place = where.look(host)
    path, document = where.engine_file(host, place, node.settings.profile)
    renewed: Mapping[str, Any] = connection.engine(node) or {}
    fresh = {name: renewed.get(name) for name in ("key", "curve_serverkey")}
    content = to_json({**document, **fresh})
    host.put(content, path)
    left = str(connection.delivered(Path(place.folder)))
    if host.run(["test", "-e", left], check=False).ok:
        # What `cncp up` left there counts before the profile's.
        host.put(content, left)
    if not start:
        return "has the new keys"
    host.run([place.command, "up", "--quiet"], timeout=START_TIMEOUT + 30)
    return "has the new keys, engines restarted"


def _registered(node: Node, document: Mapping[str, Any]) -> int:
    with Hub(document, connection.local_address(node)) as hub:
        try:
            return len(hub.engines(5.0))
        except NoAnswer:
            return 0


def _await(node: Node, expected: int) -> int:
    """Wait until as many engines are registered as before, and return how many there are."""
    document = connection.client(node) or {}
    deadline = time.monotonic() + START_TIMEOUT
    with Hub(document, connection.local_address(node)) as hub:
        while True:
            alive = hub.answering(hub.engines(5.0).values(), 1.0)
            if len(alive) >= expected:
                return len(alive)
            if time.monotonic() > deadline:
                raise CncpError(
                    f"the keys are new, but only {len(alive)} of {expected} engines answer",
                    "look at: cncp status, also on the other hosts",
                )
            time.sleep(0.2)
