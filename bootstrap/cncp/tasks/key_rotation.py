"""keys.rotate and keys.revoke: wiring between flags, the controller's machine and the fleet."""

from __future__ import annotations

import os

from cncp import accounts
from cncp.client import rotate as rotating
from cncp.config.asked import Request
from cncp.config.inventory import Inventory
from cncp.console import Console
from cncp.errors import CncpError, UsageError, plural
from cncp.fleet import rollout
from cncp.fleet.phases.base import Report
from cncp.fleet.scene import Scene
from cncp.machine.node import Node, installed
from cncp.ssh import user_key
from cncp.ssh.pool import SomeHostsFailed
from cncp.tasks import following, scenes
from cncp.tasks import rollout_report as reports
from cncp.tasks.options import is_strict

WAIT = 3600.0
"""Seconds that a rotation waits for tasks unless told otherwise."""


def seconds(text: str) -> float:
    """Read --wait. Raises UsageError."""
    if not text.isascii() or not text.isdigit() or len(text) > 7:
        raise UsageError(f"command line: --wait {text!r} is not possible", "give whole seconds, such as 600")
    return float(text)


def confirm(question: str) -> None:
    """Ask on the terminal whether to go on. Raises CncpError where that is not so."""
    if not user_key.has_terminal():
        raise UsageError(question.partition(";")[0], "say that it is meant: --yes")
    with open("/dev/tty", "r+b", buffering=0) as terminal:
        terminal.write(f"{question} [y/N] ".encode())
        answer = terminal.readline().decode(errors="replace").strip().lower()
    if answer not in ("y", "yes"):
        raise CncpError("nothing was changed", "answer y to go on, or say --yes")


def _rotate(
    asked: Request, hosts: Inventory, strict: bool, console: Console, *, patience: float | None
) -> tuple[rotating.Rotated, Report]:
    """Rotate on the controller's machine, wherever that is, then bring all engines up with the new keys."""
    console.phase("looking at the cluster")
    wanted = reports.fleet(asked, hosts, limit="", strict=strict)
    if patience is not None:
        rotating.insist_on([spec for spec in hosts.everyone if not spec.local], strict=strict)
    node: Node | None = None
    if hosts.controller.local:
        node = _controller_node()
        done = rotating.rotate(node, console, patience=patience)
    else:
        with Scene(hosts, wanted.home, [hosts.controller], console, strict=strict) as scene:
            done = rotating.rotate_there(scene.only(), console, patience=patience)
    if not (done.running and hosts.named):
        return done, Report()
    return done, rollout.up(asked, wanted, console, phases=rollout.HOSTS, node=node)


def _controller_node() -> Node:
    node = installed(accounts.home(os.environ))
    if not node.controller:
        raise UsageError(
            "this machine has no controller, and so no keys of its own", "run this where the controller is"
        )
    return node


def _name(node: Node) -> str:
    """Return this machine as others can name it, else as it names itself."""
    return following.reached(node.location, node.account, os.environ) or node.location


def renew(
    file: str | None, host_keys: str, console: Console, *, patience: float | None, ask: str, as_json: bool
) -> None:
    """Rotate and say what came of it; ``ask`` is asked first, unless "". Raises SomeHostsFailed."""
    asked = scenes.asked(file)
    hosts = scenes.inventory(asked)
    if hosts.controller.local:
        _controller_node()
    if ask:
        confirm(ask)
    rotated, done = _rotate(asked, hosts, is_strict(host_keys), console, patience=patience)
    counts = {name: done.answering(name) for name in done.hosts}
    engines = sum(counts.values()) if counts else rotated.engines
    if as_json:
        failed = {name: error.message for name, error in done.failures.items()}
        console.data({**rotated.to_json(), "engines": engines, "hosts": counts, "failed": failed})
    else:
        state = f"{plural(engines, 'engine')} answered" if rotated.running else "the cluster is down, as it was"
        console.say(f"keys {rotated.before} are void, {rotated.after} count · {state}")
        host = _name(_controller_node()) if hosts.controller.local else hosts.controller.name
        console.say(f"next: cncp status | from your laptop: cncp keys.copy --force --host {host}")
    if done.failures:
        raise SomeHostsFailed(done.failures, len(hosts.everyone), "")
