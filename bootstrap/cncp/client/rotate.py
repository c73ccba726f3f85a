"""New keys for a cluster: those who hold the old ones are shut out, its own engines get the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cncp.client import idle
from cncp.config.inventory import HostSpec
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.field_types import Number, Word
from cncp.fleet.any_machine import Machine
from cncp.fleet.remote_machine import RemoteMachine
from cncp.ipp import keys
from cncp.machine import connection_files
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.ops import inviting, steps
from cncp.machine.ops.apply import locked, require_root, up
from cncp.machine.services import ServiceManager, service_manager
from cncp.records import Record
from cncp.ssh.pool import Crew, SomeHostsFailed


@dataclass(frozen=True)
class Rotated(Record):
    """What a rotation did: fingerprints before and after, whether the cluster runs, engines that answer here."""

    before: Word
    after: Word
    running: bool
    engines: Number


def rotate(node: Node, console: Console, *, patience: float | None) -> Rotated:
    """Replace the keys on the controller's machine and restart its services with them.

    Waits for tasks for up to ``patience`` seconds before anything is changed; None waits for none.
    A cluster that is down stays so. Raises CncpError.
    """
    former = connection_files.client(node)
    if not node.controller or former is None:
        raise UsageError(
            "this machine has no controller, and so no keys of its own", "run this where the controller is"
        )
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    running = bool(steps.running(manager))
    if running:
        require_root(node, "keys.rotate")
    with locked(node, "cncp keys.rotate"):
        if running and patience is not None:
            console.phase("waiting for the tasks there are")
            ports = former.ports
            idle.wait_idle(former, node.local_address, ports, patience, console.note)
        _stop(node, manager, console)
        if patience is None:
            # Who was given the old keys by an invitation is not given the new ones.
            inviting.shut_out(node, console)
        console.phase("making new keys")
        keys.renew(node.identity)
        connection_files.write(node, actor)
    # Cut off before this, the next `cncp up` does the same.
    engines = len(up(node, console).answers.answering) if running else 0
    after = connection_files.client(node)
    return Rotated(former.fingerprint, after.fingerprint if after else "", running, engines)


def _stop(node: Node, manager: ServiceManager, console: Console) -> None:
    """Stop what runs, engines first: a controller that goes first has them wait for it."""
    names = [name for name in steps.running(manager) if name in node.services]
    if names:
        console.phase(f"stopping {', '.join(names)}")
        steps.stop_services(node, manager, [name for name in names if name != "controller"])
        steps.stop_services(node, manager, [name for name in names if name == "controller"])


def rotate_there(machine: Machine, console: Console, *, patience: float | None) -> Rotated:
    """Have the controller's host do the same. Raises CncpError with that host's own words."""
    words = ["keys.revoke", "--yes"] if patience is None else ["keys.rotate", f"--wait={patience:.0f}"]

    def hear(line: str) -> None:
        if line.startswith("==> "):
            console.note(f"[{machine.name}] {line.removeprefix('==> ')}")

    assert isinstance(machine, RemoteMachine)  # noqa: S101  # this machine has `rotate`
    return machine.answer(Rotated, *words, wait=patience or 0.0, line=hear)


def insist_on(hosts: Sequence[HostSpec], *, strict: bool) -> None:
    """Raise SomeHostsFailed where a host cannot be logged in to: its engines would be shut out."""
    with Crew(hosts, strict=strict) as crew:
        failures: dict[str, CncpError] = crew.failures
    if failures:
        raise SomeHostsFailed(failures, len(hosts), "")
