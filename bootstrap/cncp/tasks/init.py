"""init: a cluster.toml to begin with."""

from __future__ import annotations

import os

from invoke.context import Context

from cncp import accounts
from cncp.config import selection
from cncp.console import Console
from cncp.errors import UsageError
from cncp.fleet import adhoc as everywhere
from cncp.fleet import hardware_report as inspection
from cncp.fleet import init_file
from cncp.tasks.hosts import seconds
from cncp.tasks.options import HOST_KEYS, is_strict
from cncp.tasks.task import command


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
    specs = selection.named(hosts, where="command line")
    found = init_file.gather(specs, seconds(timeout), strict=is_strict(host_keys))
    inspection.keep(accounts.home(os.environ), found.facts)
    console.out.write(init_file.text(specs, found))
    everywhere.conclude(found.failures, len(specs), console)


__all__ = ["init"]
