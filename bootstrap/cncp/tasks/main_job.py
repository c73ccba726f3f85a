"""`cncp up`: the main job on all machines of a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from invoke.context import Context

from cncp import accounts, files
from cncp.console import Console, Stopwatch
from cncp.fleet import registry as places
from cncp.fleet.controller_host import Here
from cncp.fleet.model import Fleet
from cncp.fleet.phases.base import Report
from cncp.fleet.rollout import up as everywhere
from cncp.machine.node import Node
from cncp.machine.ops import apply as converging
from cncp.machine.ops import busy_engines, lifecycle, main, steps, summary
from cncp.tasks import following as next_steps
from cncp.tasks import rollout_report as reports
from cncp.tasks import scenes
from cncp.tasks.options import BUSY, FORGET, HOST_KEYS, HOSTS, JSON, QUIET, VERBOSE, is_strict
from cncp.tasks.task import command


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
    hosts = scenes.inventory(asked)
    wanted = reports.fleet(asked, hosts, limit=limit, strict=is_strict(host_keys))
    if hosts.named:
        done, following = fleet_up(asked, wanted, console, again)
        reports.report(wanted, done, console, following=following, elapsed=summary.elapsed(), as_json=as_json)
        return
    first = steps.former(accounts.home(os.environ)) is None
    node, outcome = main.converge(asked, console, again)
    report = converging.report(node, outcome)
    if as_json:
        console.data(summary.document(report))
        return
    for line in [*summary.lines(node, report), *(_following(node) if first else ())]:
        console.say(line)


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


__all__ = ["up"]
