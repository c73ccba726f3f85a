"""Verbs on a cluster that is there: scale, restart, down."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cncp.accounts import Account
from cncp.config.settings import parse
from cncp.config.sources import KEPT, Kept, kept
from cncp.console import Console
from cncp.errors import UsageError, plural
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.ops import busy_engines, steps
from cncp.machine.ops.apply import Outcome, choose, locked, require_root, reviver, up
from cncp.machine.ops.busy_engines import Manners
from cncp.machine.ops.readiness import Answers, wait
from cncp.machine.services import service_manager
from cncp.machine.services.kinds import KINDS, split
from cncp.machine.services.startup import START_TIMEOUT

MOST_ENGINES = 1024
"""On one machine, as the setting has it."""

NO_SERVICE = "there is no service"
"""How the error begins that says so; other hosts' are known by it."""


def remember(account: Account, home: Path, former: Kept, flags: Mapping[str, str], file: Path | None) -> None:
    """Keep what a command line said, so that a later run without it stays with it."""
    given = {key: parse(key, value, "command line") for key, value in flags.items()}
    said = Kept({**former.settings, **given}, str(file or ""))
    KEPT.save(home, said if said.settings or said.file else None, Actor(account).write)


def check_count(count: str) -> None:
    """Raise UsageError where it is nothing that ``scale`` takes."""
    if not re.fullmatch(r"[-+]?[0-9]{1,4}", count) or abs(int(count)) > MOST_ENGINES:
        raise UsageError(
            f"scale {count!r} is not possible", f"give a number of engines, 0 to {MOST_ENGINES}, or +1, -1"
        )


def engines_after(node: Node, count: str) -> int:
    """Return how many engines ``scale`` is to leave: the number given, or so many more or fewer. Raises UsageError."""
    wanted = int(count) + (node.engines if count[0] in "-+" else 0)
    if not 0 <= wanted <= MOST_ENGINES:
        raise UsageError(
            f"scale {count} is not possible: it has {plural(node.engines, 'engine')}",
            f"give a number of engines, 0 to {MOST_ENGINES}",
        )
    return wanted


def scale(node: Node, count: int, environment: Mapping[str, str], console: Console, manners: Manners) -> Outcome:
    """Run ``count`` engines: new ones are added, or idle ones removed, and no other is touched.

    Busy engines are removed only as ``manners`` say.
    """
    if not node.controller and count < 1:
        raise UsageError("an engine machine with no engines does nothing", "use cncp down to stop it")
    if node.gpus:
        raise UsageError("engines = gpus, one a GPU: there is nothing to scale", "set another number with --engines")
    present: list[int] = []

    def in_the_way() -> list[str]:
        busy = busy_engines.busy(node)
        # Those to keep first: busy ones, then low ids.
        present[:] = sorted(node.engine_ids, key=lambda number: (f"engine-{number}" not in busy, number))
        return [f"engine-{number}" for number in present[count:] if f"engine-{number}" in busy]

    busy_engines.insist(in_the_way, f"scale {count}", manners, console.phase)
    # The engines that stay keep their number of threads: another share would restart them.
    scaled = dataclasses.replace(node.settings, engines=count, threads=node.threads)
    target = choose(environment, scaled, present)
    outcome = up(target, console, verb=f"scale {count}")
    former = kept(Path(node.home))
    flags = {"engines": str(count), "threads": str(node.threads)}
    remember(node.account, Path(node.home), former, flags, Path(former.file) if former.file else None)
    return outcome


def chosen(node: Node, names: str) -> list[str]:
    """Return the services of these names, with commas between; all where there are none. Raises UsageError.

    ``0`` and ``engine0`` are engine-0, which people write so.
    """
    return [_service(node, name) for name in names.split(",") if name] or list(node.services)


def service(node: Node, name: str) -> str:
    """Return the one service of a name. Raises UsageError."""
    found = chosen(node, name)
    if len(found) > 1:
        raise UsageError(f"{len(found)} services are more than one", f"name one of: {', '.join(found)}")
    return found[0]


def _service(node: Node, name: str) -> str:
    for meant in (name, f"engine-{name}", re.sub(r"^engine[-_ ]?(?=[0-9]+$)", "engine-", name)):
        if meant in node.services:
            return meant
    close = difflib.get_close_matches(name, node.services, 1)
    services = ", ".join(node.services)
    raise UsageError(
        f"{NO_SERVICE} {name}", (f"did you mean {close[0]}? " if close else "") + f"the services are: {services}"
    )


def part(node: Node, names: Sequence[str], verb: str, manners: Manners, console: Console) -> None:
    """See to busy engines before what is asked for ends them: without a ``wait`` it is only said what is lost."""
    asked = manners if manners.wait else dataclasses.replace(manners, force=True)
    busy_engines.insist(busy_engines.of(node, names), verb, asked, console.warn if asked.force else console.phase)


def restart(node: Node, wanted: Sequence[str], console: Console) -> Answers:
    """Stop and start services, and wait until the engines answer."""
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    require_root(node, "restart")
    with locked(node, "cncp restart"):
        console.phase(f"restarting {', '.join(wanted)}")
        steps.restart_services(node, manager, actor, wanted)
    return wait(node, manager, START_TIMEOUT, reviver(node, manager, console))


def down(node: Node, console: Console) -> bool:
    """Stop everything until the next `cncp up`, over reboots too; return whether anything ran."""
    actor = Actor(node.account)
    manager = service_manager(node, actor)
    require_root(node, "down")
    if node.rendezvous == "owner":
        # What seals takes a while to import, and most clusters have nobody to tell.
        from cncp.machine.ops import inviting

        inviting.tell(node, "stop", console)
    with locked(node, "cncp down"):
        running = steps.running(manager)
        if running:
            console.phase(f"stopping {', '.join(running)}")
        # Backwards: engines say goodbye to the controller, which some reach through a tunnel.
        for kind in reversed(list(KINDS)):
            manager.stop([name for name in running if split(name)[0] == kind])
        ended = steps.end_unkept(node, manager, console.phase)
        manager.forget()
    return bool(running or ended)
