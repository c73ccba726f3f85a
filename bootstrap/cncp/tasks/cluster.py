"""The verbs on a cluster: up status logs check scale restart down uninstall."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit

from cncp import accounts, files, pidfile
from cncp.config.sources import switched
from cncp.console import Console, Stopwatch
from cncp.errors import UsageError, plural
from cncp.fleet import operations
from cncp.fleet import registry as places
from cncp.fleet.controller_host import Here
from cncp.fleet.model import Fleet
from cncp.fleet.phases.base import Report
from cncp.fleet.rollout import up as everywhere
from cncp.machine.actor import Actor
from cncp.machine.jupyter import service
from cncp.machine.node import Node, installed
from cncp.machine.ops import apply as converging
from cncp.machine.ops import busy_engines, doctor, lifecycle, main, steps
from cncp.machine.ops import status as states
from cncp.machine.ops import uninstall as removal
from cncp.machine.ops.readiness import Answers
from cncp.machine.services import logs as logfiles
from cncp.machine.services import service_manager
from cncp.machine.services.base import running_process
from cncp.tasks import fleet as fleets
from cncp.tasks import following as next_steps
from cncp.tasks.options import BUSY, FORGET, HOST_KEYS, HOSTS, JSON, QUIET, SERVICES, VERBOSE, is_strict, refuse_limit
from cncp.tasks.task import command

MOST_ENGINES = 1024
"""On one machine, as the setting has it."""


def _node() -> Node:
    return installed(accounts.home(os.environ))


def _elapsed() -> float:
    """Return seconds since the user began to wait: in baremetal.sh, or with this process."""
    try:
        return max(0.0, time.time() - float(os.environ["CNCP_BEGAN"]))
    except (KeyError, ValueError):
        # Both count from the boot. The time of day at the boot is known to the second only.
        return time.clock_gettime(time.CLOCK_BOOTTIME) - pidfile.started(os.getpid()) / os.sysconf("SC_CLK_TCK")


def _count(node: Node, seen: Answers) -> str:
    """Say what was seen: only the controller's machine knows which engines answer."""
    if not node.engines:
        return "the controller answers"
    return (
        f"{len(seen.answering)}/{node.engines} engines answer"
        if node.controller
        else f"{plural(node.engines, 'engine')} run"
    )


def _report(
    console: Console, node: Node, outcome: converging.Outcome, as_json: bool, following: Sequence[str] = ()
) -> None:
    seen = outcome.answers
    elapsed = _elapsed()
    access = service.load(node) if service.wanted(node) else None
    if as_json:
        console.data({**converging.report(node, outcome).document(), "elapsed": round(elapsed, 2)})
        return
    scope = f" ({node.scope})" if node.manager == "systemd" else ""
    count = _count(node, seen)
    if not outcome.changed:
        console.say("nothing to change")
    console.say(f"{count} · profile {node.settings.profile} · {node.manager}{scope} · {elapsed:.1f} s")
    if access:
        console.say(f"jupyter: {access.url} · cncp jupyter.open")
    for line in following:
        console.say(line)


@command({**HOSTS, **JSON, **QUIET, **VERBOSE, **FORGET, **HOST_KEYS, **BUSY}, settings=True)
def up(
    context: Context,
    flags: Mapping[str, str],
    file: str | None = None,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    forget: bool = False,
    limit: str = "",
    host_keys: str = "accept-new",
    wait: int = 0,
    force: bool = False,
) -> None:
    """Make this machine, and the hosts cluster.toml names, what the settings say; wait until all engines answer."""
    busy_engines.say(wait=wait, force=force)
    console = Console(quiet=quiet, verbose=verbose)
    converge(console, flags, file=file, forget=forget, as_json=json, limit=limit, host_keys=host_keys)


def converge(
    console: Console,
    flags: Mapping[str, str],
    *,
    file: str | None = None,
    forget: bool = False,
    as_json: bool = False,
    limit: str = "",
    host_keys: str = "accept-new",
    again: Sequence[str] = (),
) -> None:
    """Do what `up` does with these settings of the command line, which are kept.

    ``again`` are the words of cncp that go on after an installation, where this verb itself cannot.
    """
    asked = converging.request(os.environ, file=file, flags=flags, forget=forget)
    hosts = fleets.inventory(asked)
    if hosts is not None:
        wanted = fleets.fleet(asked, hosts, limit=limit, strict=is_strict(host_keys))
        done, following = fleet_up(asked, wanted, console, again)
        fleets.report(wanted, done, console, following=following, elapsed=_elapsed(), as_json=as_json)
        return
    refuse_limit(limit)
    first = steps.former(accounts.home(os.environ)) is None
    node, outcome = main.converge(asked, console, again)
    _report(console, node, outcome, as_json, _following(node) if first else ())


def _following(node: Node, elsewhere: str = "") -> list[str]:
    """Return what the report of a first installation ends with; ``elsewhere`` is the controller's other machine."""
    here = next_steps.reached(node.location, node.account, os.environ) if node.controller else ""
    loopback = node.controller and node.settings.listen.startswith("127.")
    return next_steps.lines(
        next_steps.program(node.account, os.environ), elsewhere or here, loopback=loopback and not elsewhere
    )


def fleet_up(
    asked: converging.Request, wanted: Fleet, console: Console, again: Sequence[str] | None
) -> tuple[Report, Sequence[str]]:
    """Bring all hosts up; return what came of it, and what may follow. ``again`` is as for ``bring_environment``."""
    node = converging.describe(asked)
    watch = Stopwatch(console)
    with watch.phase("environment"):
        main.bring_environment(node, console, again)
    head = wanted.inventory.controller
    here = Here(node, console) if head.local else None
    if here is None:
        with watch.phase("this-machine"):
            converging.up(node, console)
    files.make_home(wanted.home)
    first = not places.load(wanted.home)
    # Before anything is done: verbs on what was cut off need to know the hosts.
    lifecycle.remember(node.account, wanted.home, asked.former, asked.flags, asked.file)
    done = everywhere(wanted, here, console, watch)
    return done, _following(node, "" if here else head.name) if first else ()


def scene(file: str | None, limit: str) -> operations.Scene | None:
    """Return the hosts of the cluster in use, None where it is this machine alone."""
    return _of_hosts(fleets.asked(file), limit, forgotten=False)


def _of_hosts(asked: converging.Request, limit: str, *, forgotten: bool) -> operations.Scene | None:
    """Return the hosts of a cluster; ``forgotten`` takes in those that are set up, but no longer in the file."""
    hosts = fleets.inventory(asked)
    if forgotten and not switched(os.environ, "CNCP_HERE"):
        hosts = fleets.set_up_from_here(hosts, accounts.home(os.environ))
    if hosts is None:
        refuse_limit(limit)
        return None
    return fleets.scene(asked, hosts, limit)


@command({**HOSTS, **JSON, "watch": f"show it anew every {fleets.WATCH:.0f} s, until Ctrl-C"})
def status(context: Context, file: str | None = None, limit: str = "", json: bool = False, watch: bool = False) -> None:
    """Show every service: id, host, pid, state, uptime, memory, CPU, restarts, last cause of death."""
    console = Console()
    if watch and json:
        raise UsageError("command line: --watch shows a table", "a program asks again: cncp status --json")
    if view := scene(file, limit):
        fleets.status(view, console, as_json=json, watch=watch)
        return
    node = _node()
    manager = service_manager(node, Actor(node.account))
    for found in console.pages(lambda: states.status(node, manager), fleets.WATCH if watch else 0.0):
        if json:
            console.data([one.document() for one in found])
            return
        fleets.show(found, console)
        if all(one.state == "down" for one in found):
            stopped = not any(running_process(node, one.name).pid for one in found)
            console.note(f"{'stopped by cncp down' if stopped else 'nothing runs'}; cncp up brings it back")


@command({**HOSTS, **SERVICES, "lines": "how many of the last lines", "follow": "go on as the log grows"}, takes="name")
def logs(
    context: Context,
    name: str = "",
    lines: int = 20,
    follow: bool = False,
    file: str | None = None,
    limit: str = "",
) -> None:
    """Show the logs of a service, or of all of them."""
    console = Console()
    if view := scene(file, limit):
        fleets.logs(view, console, name, lines, follow=follow)
        return
    node = _node()
    wanted = lifecycle.chosen(node, name)
    if follow:
        logfiles.follow(node, wanted, lines)
    for one in wanted:
        for line in logfiles.tail(node, one, lines):
            console.say(f"[{one}] {line}")


@command({**HOSTS, **JSON, "from-hosts": "dial the controller's ports from every host as well"})
def check(
    context: Context, json: bool = False, file: str | None = None, limit: str = "", from_hosts: bool = False
) -> None:
    """Look for what is wrong, and say what to do about it."""
    console = Console()
    if view := scene(file, limit):
        fleets.check(view, console, as_json=json, from_hosts=from_hosts)
        return
    node = _node()
    findings = doctor.examine(node, service_manager(node, Actor(node.account)))
    if json:
        console.data([finding.document() for finding in findings])
    else:
        for finding in findings:
            console.say(f"{finding.what}\n    -> {finding.remedy}")
        if not findings:
            console.say("all is well")
    if findings:
        raise Exit(code=1)


@command(
    {
        **HOSTS,
        **QUIET,
        **JSON,
        "count": "how many engines, or how many more or fewer: +1, -1",
        **BUSY,
    },
    positional=["count"],
)
def scale(
    context: Context,
    count: str,
    force: bool = False,
    wait: int = 0,
    quiet: bool = False,
    json: bool = False,
    file: str | None = None,
    limit: str = "",
) -> None:
    """Add or remove engines, of several hosts on each; the others are not touched."""
    check_count(count)
    console = Console(quiet=quiet)
    if view := scene(file, limit):
        fleets.scale(view, console, [count, *words_of_busy(wait, force=force)])
        return
    node = _node()
    outcome = lifecycle.scale(
        node, engines_after(node, count), os.environ, console, busy_engines.say(wait=wait, force=force)
    )
    _report(console, _node(), outcome, json)


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


@command({**HOSTS, **QUIET, **SERVICES, **BUSY}, takes="name")
def restart(
    context: Context,
    name: str = "",
    quiet: bool = False,
    file: str | None = None,
    limit: str = "",
    wait: int = 0,
    force: bool = False,
) -> None:
    """Restart a service, or all of them."""
    manners = busy_engines.say(wait=wait, force=force)
    console = Console(quiet=quiet)
    if view := scene(file, limit):
        fleets.restart(view, console, [*([f"--name={name}"] if name else []), *words_of_busy(wait, force=force)])
        return
    node = _node()
    chosen = lifecycle.chosen(node, name)
    lifecycle.part(node, chosen, "restart", manners, console)
    seen = lifecycle.restart(node, chosen, console)
    console.say(_count(node, seen))


@command({**HOSTS, **QUIET, **BUSY})
def down(
    context: Context,
    quiet: bool = False,
    file: str | None = None,
    limit: str = "",
    wait: int = 0,
    force: bool = False,
) -> None:
    """Stop controller and engines until the next `up`."""
    manners = busy_engines.say(wait=wait, force=force)
    console = Console(quiet=quiet)
    if view := scene(file, limit):
        fleets.down(view, console, words_of_busy(wait, force=force))
        return
    node = _node()
    lifecycle.part(node, node.services, "down", manners, console)
    console.say("stopped" if lifecycle.down(node, console) else "nothing was running")


def words_of_busy(wait: int, *, force: bool) -> list[str]:
    return [*([f"--wait={wait}"] if wait else []), *(["--force"] if force else [])]


@command({**HOSTS, **QUIET})
def uninstall(context: Context, quiet: bool = False, file: str | None = None, limit: str = "") -> None:
    """Stop everything and remove all that was written; what stood there before comes back."""
    console = Console(quiet=quiet)
    if view := _of_hosts(fleets.asked_at_the_end(file, console.warn), limit, forgotten=True):
        fleets.uninstall(view, console)
        return
    for path in removal.of_home(accounts.home(os.environ), console):
        console.say(f"left, because it is not ours: {path}")
    console.say("removed")


__all__: list[Any] = ["check", "down", "logs", "restart", "scale", "status", "uninstall", "up"]
