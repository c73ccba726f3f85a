"""Which engine of convergence installs the files: Chef, or the embedded one; and why that one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.console import Stopwatch
from cncp.errors import CncpError, PreflightError
from cncp.machine import facts
from cncp.machine.actor import Actor
from cncp.machine.converge import chef
from cncp.machine.node import Node
from cncp.machine.root import authority


@dataclass(frozen=True)
class Engine:
    """An engine and why it was chosen. ``program`` is Chef's, None for the embedded engine."""

    name: str
    why: str
    program: Path | None = None


NONE = Engine("none", "there was nothing to converge")


def insist(node: Node) -> None:
    """Raise PreflightError where the settings insist on Chef and there is none."""
    if node.settings.converge == "chef" and chef.find() is None:
        raise PreflightError(
            "converge = chef, but there is neither cinc-solo nor chef-solo on this machine",
            "install Cinc (https://cinc.sh/start/client/), or leave --converge out",
        )


def root_at_hand() -> bool:
    """Tell whether commands can be run as root without anybody being asked."""
    return os.geteuid() == 0 or authority.reachable() or facts.sudo() == "silent"


def present(node: Node) -> Engine | None:
    """Return the engine that needs nothing to be installed; None where that might be Chef's turn."""
    if node.settings.converge == "embedded":
        return Engine("embedded", "as set")
    program = chef.find()
    if program is not None:
        return Engine("chef", "as set" if node.settings.converge == "chef" else f"{program} is here", program)
    return None


def choose(node: Node, actor: Actor, environment: Mapping[str, str], say: Callable[[str], None]) -> Engine:
    """Choose the engine; with converge = auto Cinc is installed where that can be done unasked."""
    insist(node)
    found = present(node)
    if found is not None:
        return found
    # Not at the top: where the choice is made already, nothing is asked of the network.
    from cncp.machine.converge import cinc

    refusal = cinc.refusal(environment, root_at_hand())
    if refusal:
        return Engine("embedded", refusal)
    try:
        say("having root install Cinc (set CNCP_CHEF_INSTALL=no to have it left out)")
        program = actor.root.cinc()
    except CncpError as error:
        return Engine("embedded", f"Cinc could not be installed: {error.message}")
    return Engine("chef", "Cinc was installed", program)


def converge(node: Node, engine: Engine, actor: Actor, embedded: Callable[[], None], watch: Stopwatch) -> Engine:
    """Converge with ``engine``, and return the one that did it.

    Chef's own builds run only where their licence has been accepted, which is the user's to do:
    where Chef was merely found, ``embedded`` does the work then.
    """
    if engine.program is None:
        embedded()
        return engine
    try:
        with watch.phase("chef"):
            chef.converge(node, engine.program, actor)
    except chef.LicenceError as error:
        if node.settings.converge == "chef":
            raise
        embedded()
        return Engine("embedded", error.message)
    return engine


def plan(node: Node, actor: Actor) -> tuple[chef.Update, ...] | None:
    """Return what Chef says it would change; None where the embedded engine is to be asked.

    Nothing is installed for it, and nobody is asked for a password.
    """
    engine = present(node)
    if engine is None or engine.program is None:
        return None
    try:
        return chef.plan(node, engine.program, actor)
    except chef.LicenceError:
        return None
