"""init: a cluster.toml to begin with."""

from __future__ import annotations

import os

from invoke.context import Context

from cncp.console import Console
from cncp.errors import UsageError
from cncp.fleet import choose, starter
from cncp.fleet import facts as inspection
from cncp.fleet import hosts as everywhere
from cncp.machine import place
from cncp.tasks.asked import HOST_KEYS, is_strict
from cncp.tasks.command import command
from cncp.tasks.hosts import seconds


@command(
    {
        "hosts": "hosts and ranges: gold[2-7] silver1",
        **HOST_KEYS,
        "timeout": "seconds that a host may take",
    },
    positional=["hosts"],
    takes="hosts",
)
def init(context: Context, hosts: str, host_keys: str = "accept-new", timeout: int = 60) -> None:
    """Print a cluster.toml made from what is found on hosts: cncp init gold[2-7] > cluster.toml."""
    console = Console()
    if not hosts.strip():
        raise UsageError("there are no hosts to look at", "name them: cncp init gold1 gold[2-7]")
    specs = choose.named(hosts, where="command line")
    found = starter.gather(specs, seconds(timeout), strict=is_strict(host_keys))
    inspection.keep(place.home(os.environ), found.facts)
    console.out.write(starter.text(specs, found))
    everywhere.conclude(found.failures, len(specs), console)


__all__ = ["init"]
