"""join: this machine becomes one of engines of a cluster elsewhere, by what `cncp invite` printed there."""

from __future__ import annotations

import os
from collections.abc import Mapping

from invoke.context import Context

from cncp import accounts
from cncp.console import Console
from cncp.errors import UsageError, plural
from cncp.machine import seeds
from cncp.machine.ops import busy_engines, joining
from cncp.tasks.options import BUSY, JSON, QUIET, VERBOSE
from cncp.tasks.task import command


@command(
    {
        **JSON,
        **QUIET,
        **VERBOSE,
        **BUSY,
        "seed": "file with the seed, - for standard input; the one that waits without",
    },
    settings=True,
    positional=[],
    takes="seed",
)
def join(
    context: Context,
    flags: Mapping[str, str],
    seed: str = "",
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    wait: int = 0,
    force: bool = False,
) -> None:
    """Have this machine's engines join a cluster elsewhere; the seed comes from `cncp invite` there."""
    if flags.get("role", "engine") != "engine":
        raise UsageError("command line: who joins has engines alone", "leave --role out")
    busy_engines.say(wait=wait, force=force)
    home = accounts.home(os.environ)
    found = seeds.read(seed, home)
    seeds.insist(found, home)
    if seed:
        seeds.insist_on_answer(found)
        seeds.keep(found, home)
    console = Console(quiet=quiet, verbose=verbose)
    joined = joining.join(found, flags, os.environ, console)
    if json:
        console.data(
            {
                "cluster": joined.known.cluster,
                "fingerprint": joined.known.fingerprint,
                "controller": joined.controller,
                "engines": joined.registered,
                "profile": joined.node.settings.profile,
            }
        )
        return
    console.say(
        f"joined: {plural(joined.registered, 'engine')} registered with the controller at {joined.controller}"
        f" · cluster {joined.known.cluster} · keys {joined.known.fingerprint}"
    )
    console.say("next: cncp status here or on the controller's machine | to leave: cncp uninstall")
