"""Engines at work, and what becomes of their tasks where a change would end them: the same for every verb.

Refused, naming them; waited for, with --wait SECONDS; lost, with --force; on a terminal it is asked.
Both are variables, too, by which they reach other hosts and the process that goes on after an installation.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import not_

from cncp.config.variables import switched
from cncp.errors import CncpError, UsageError
from cncp.ipp.engine_uuid import slot
from cncp.ipp.hub import IDLE, Hub, Load, NoAnswer
from cncp.machine import connection_files
from cncp.machine.node import Node
from cncp.machine.services.processes import running
from cncp.waiting import wait_until

WAIT, FORCE = "CNCP_WAIT", "CNCP_FORCE"

_LONGEST = 10**7  # s, as for keys.rotate
_ANSWER = 1.0  # s
_LOOK = 0.2  # s


@dataclass(frozen=True)
class Manners:
    """What is to become of busy engines: ``wait`` s for them to be idle, then refuse or, with ``force``, end them."""

    wait: float = 0.0
    force: bool = False


def said(environment: Mapping[str, str]) -> Manners:
    """Return what the environment says. Raises UsageError."""
    text = environment.get(WAIT) or "0"
    if not text.isascii() or not text.isdigit() or int(text) > _LONGEST:
        raise UsageError(f"environment: {WAIT} = {text!r} is not possible", "give whole seconds, such as 600")
    return Manners(float(text), switched(environment, FORCE))


def say(*, wait: int, force: bool) -> Manners:
    """Note what a command line says, for all that this process begins, and return what counts. Raises UsageError."""
    if wait:
        os.environ[WAIT] = str(wait)
    if force:
        os.environ[FORCE] = "true"
    return said(os.environ)


def handed_on() -> dict[str, str]:
    """Return the variables for another host."""
    return {name: os.environ[name] for name in (WAIT, FORCE) if os.environ.get(name)}


def words(manners: Manners) -> list[str]:
    """Return the options of another host's verb."""
    return [*([f"--wait={manners.wait:.0f}"] if manners.wait else []), *(["--force"] if manners.force else [])]


def busy(node: Node) -> dict[str, bool]:
    """Return the engines that work, of whatever host, by name, and whether they are this machine's.

    None where nobody answers: what is not known is not in the way of a cluster being mended.
    """
    document = connection_files.client(node) or connection_files.engine(node)
    current = running(node)
    if document is None or (node.controller and not current["controller"].pid):
        return {}
    own = {process.uuid: name for name, process in current.items() if process.uuid}
    near = node.local_address if node.controller else None
    with contextlib.suppress(NoAnswer), Hub(document, near) as hub:
        engines = hub.engines(_ANSWER)
        load = hub.queues(_ANSWER) if engines else {}
        working = {uuid: number for number, uuid in engines.items() if _works(load.get(number, IDLE))}
        return {own.get(uuid) or _elsewhere(uuid, number): uuid in own for uuid, number in working.items()}
    return {}


def _works(load: Load) -> bool:
    return bool(load.queue + load.tasks)


def _elsewhere(uuid: str, number: int) -> str:
    place = slot(uuid)
    return f"engine-{place[1]} of {place[0]}" if place else f"the engine with id {number}"


def of(node: Node, names: Collection[str]) -> Callable[[], list[str]]:
    """Return what looks which engines work that are lost with these services: with the controller, all of them."""

    def look() -> list[str]:
        found = busy(node)
        return sorted(name for name, here in found.items() if "controller" in names or (here and name in names))

    return look


def insist(look: Callable[[], list[str]], action: str, manners: Manners, tell: Callable[[str], None]) -> None:
    """Return when no task is lost by ``what``, or is to be. Raises CncpError naming the engines that work."""
    working = look()
    if working and manners.wait and not manners.force:
        tell(f"waiting for {', '.join(working)}: busy")
        working = wait_until(look, manners.wait, _LOOK, enough=not_)
    if working and manners.force:
        tell(f"{lost(working)} lost")
    elif working:
        _refuse(working, action)


def lost(working: Collection[str]) -> str:
    """Say which tasks an end of these engines costs."""
    are, tasks = ("is", "its task is") if len(working) == 1 else ("are", "their tasks are")
    return f"{', '.join(working)} {are} busy: {tasks}"


def _refuse(working: Collection[str], action: str) -> None:
    are, tasks = ("is", "its task") if len(working) == 1 else ("are", "their tasks")
    named = f"{', '.join(working)} {are} busy"
    if _asked(f"{named}; {action} all the same, and lose {tasks}?"):
        # The process that goes on with this is not to ask again.
        os.environ[FORCE] = "true"
        return
    raise CncpError(
        f"{named}: {action} would lose {tasks}", "wait for them: --wait SECONDS, or lose their tasks: --force"
    )


def _asked(question: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
