"""`cncp up`: the main job on all machines of a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from invoke.context import Context

from cncp.config.asked import request
from cncp.console import Console
from cncp.errors import NotInstalled
from cncp.fleet import rollout
from cncp.machine.node import Node
from cncp.machine.ops import busy_engines
from cncp.machine.ops.apply import describe
from cncp.machine.ops.main import bring_environment
from cncp.tasks import elsewhere, scenes
from cncp.tasks import following as next_steps
from cncp.tasks import rollout_report as reports
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
    asked = request(os.environ, file=file, flags=flags, forget=forget)
    try:
        if cluster := scenes.elsewhere(asked):
            given = {"quiet": console.quiet, "verbose": console.verbose, "json": as_json}
            limited = {"limit": limit} if limit else {}
            words = elsewhere.options({**given, **limited})
            elsewhere.up(asked, cluster, console, words, strict=is_strict(host_keys), again=again)
            return
        wanted = reports.fleet(asked, scenes.inventory(asked), limit=limit, strict=is_strict(host_keys))
        done = rollout.up(asked, wanted, console, again)
    except NotInstalled:
        # The settings may ask for the package that the file needs: this begins anew where it brings any.
        bring_environment(describe(asked), console, again)
        raise
    head = wanted.inventory.controller
    following = _following(done.node, "" if head.local else head.name) if done.first else []
    reports.report(wanted, done, console, following=following, as_json=as_json)


def _following(node: Node, head: str = "") -> list[str]:
    """Return what the report of a first installation ends with; ``head`` is the controller's machine, if another."""
    here = next_steps.reached(node.location, node.account, os.environ) if node.controller else ""
    loopback = node.controller and node.settings.listen.startswith("127.")
    return next_steps.lines(next_steps.program(node.account, os.environ), head or here, loopback=loopback and not head)


__all__ = ["up"]
