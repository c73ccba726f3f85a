"""New keys for a cluster: those who hold the old ones are shut out, its own engines get the new ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
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
from cncp.machine import connection, health, steps
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.services import ServiceManager, service_manager
from cncp.machine.up import START_TIMEOUT, locked


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
    with locked(node, actor, "cncp keys.rotate"), Crew(others, strict=strict) as crew:
        if crew.failures and patience is not None:
            raise SomeHostsFailed(crew.failures, len(others), "")
        places = crew.each(where.look)
        if places.failures and patience is not None:
            raise SomeHostsFailed(places.failures, len(others), "")
        running = bool(steps.running(manager))
        expected = _registered(node, former) if running else 0
        if running and patience is not None:
            console.phase("waiting for the tasks there are")
            ports = clientfile.ports(former)
            idle.wait_idle(former, connection.local_address(node), ports, patience, console.note)
        with _stopped(node, manager, console):
            console.phase("making new keys")
            with actor.as_login():
                keys.renew(node.identity)
            connection.write(node, actor)
        hosts = crew.each(lambda host: _hand_over(host, places.results.get(host.spec.name), node, start=running))
        if running:
            console.phase("waiting for answers")
            health.wait(node, manager, START_TIMEOUT)
        failures = {**crew.failures, **places.failures, **hosts.failures}
        engines = _await(node, 0 if failures else expected) if running else 0
    after = connection.client(node) or {}
    return Rotated(
        clientfile.fingerprint(former),
        clientfile.fingerprint(after),
        engines,
        running,
        Outcome(hosts.results, failures),
    )


@contextlib.contextmanager
def _stopped(node: Node, manager: ServiceManager, console: Console) -> Iterator[None]:
    """Do something while the services that run are stopped, and start them again with what is then wanted."""
    names = [name for name in steps.running(manager) if name in node.services]
    engines = [name for name in names if name != "controller"]
    if names:
        console.phase(f"stopping {', '.join(names)}")
        # Engines first: a controller that goes first has them wait for it.
        steps.stop_services(node, manager, engines)
        steps.stop_services(node, manager, [name for name in names if name not in engines])
    try:
        yield
    finally:
        # Whatever went wrong in between: with the old keys or the new ones, the cluster is to run.
        if names:
            console.phase(f"starting {', '.join(names)}")
            digests = steps.wanted(node).services
            manager.start({name: digests[name] for name in node.services if name in names})


def _hand_over(host: Host, place: where.Place | None, node: Node, *, start: bool) -> str:
    """Give a host of engines the new keys, on standard input, and restart its engines with them.

    The rest of its file stays: how its engines reach the controller may be its own.
    """
    if place is None:
        raise CncpError("it cannot be reached", f"ssh {host.spec.name}, then run this again")
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
    host.run([place.command, "restart", "--quiet"], timeout=START_TIMEOUT + 30)
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
