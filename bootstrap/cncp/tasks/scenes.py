"""Which machines a verb is for: those that the file in use names, or this one by itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cncp import accounts
from cncp.config import sources
from cncp.config.asked import Request, request
from cncp.config.inventory import ALONE, LOCAL, HostSpec, Inventory
from cncp.config.variables import switched
from cncp.console import Console
from cncp.errors import CncpError, ours
from cncp.fleet.any_machine import Machine
from cncp.fleet.registry import forgotten, readable
from cncp.fleet.scene import Scene
from cncp.pools.base import Pool, with_hosts
from cncp.pools.providers import former, looked_after, pools


def inventory(asked: Request) -> Inventory:
    """Return the hosts of the file in use and its pools, without any this machine by itself."""
    found = sources.read(asked.file)[1] or ALONE
    return with_hosts(found, pools(found, accounts.home(asked.environment)))


def elsewhere(asked: Request) -> Inventory | None:
    """Return the cluster of the file in use where it is wholly the controller's machine's, and that another."""
    found = sources.read(asked.file)[1]
    return found if looked_after(found) else None


def asked(file: str | None) -> Request:
    """Return what a verb without settings asks for: the file in use, and nothing else."""
    return request(os.environ, file=file, flags={}, forget=False)


def scene(file: str | None, limit: str, console: Console) -> Scene:
    """Return the machines of the cluster in use, or those that ``limit`` names, to be connected. Raises CncpError."""
    hosts, home = inventory(asked(file)), accounts.home(os.environ)
    return Scene(hosts, home, hosts.limited(limit), console, pools=_all_pools(hosts, home), whole=not limit)


def _all_pools(hosts: Inventory, home: Path) -> tuple[Pool, ...]:
    """Return the pools of a cluster, and those that its file has no more."""
    found = pools(hosts, home)
    return (*found, *former(found, home))


@contextlib.contextmanager
def connected(file: str | None, limit: str, console: Console) -> Iterator[Scene]:
    """Have machines connected for the length of a block, and say which have failed. Raises SomeHostsFailed."""
    with scene(file, limit, console) as made:
        yield made
        made.finish()


@contextlib.contextmanager
def of_controller(file: str | None, console: Console) -> Iterator[Machine]:
    """Have the controller's machine for the length of a block. Raises what it, or the way to it, fails with."""
    hosts = inventory(asked(file))
    with Scene(hosts, accounts.home(os.environ), [hosts.controller], console) as made:
        yield made.only()


def whole(file: str | None, limit: str, console: Console) -> Scene:
    """Return what `uninstall` takes away: hosts that are set up but no longer in the file as well, and this machine.

    The machine in charge has the command even if it runs nothing.
    """
    # No other verb needs what this does of services.
    from cncp.fleet import membership

    home = accounts.home(os.environ)
    hosts = inventory(_asked_at_the_end(file, home, console.warn))
    of_pools = _all_pools(hosts, home)
    # A machine by itself, or in another's charge, knows of no other.
    gone = {} if switched(os.environ, "CNCP_HERE") else forgotten(hosts, home)
    # What is off cannot be asked, and its pool takes it away.
    off = membership.names(of_pools) if gone else set()
    if gone := {name: spec for name, spec in gone.items() if name not in off}:
        hosts = replace(hosts, hosts=(*(hosts.hosts if hosts.named else ()), *gone.values()), named=True)
    chosen: Sequence[HostSpec] = hosts.limited(limit)
    if len(chosen) == len(hosts.everyone) and not any(host.local for host in chosen):
        chosen = [*chosen, HostSpec(LOCAL)]
    return Scene(hosts, home, chosen, console, pools=of_pools, whole=not limit)


def _asked_at_the_end(file: str | None, home: Path, warn: Callable[[str], None]) -> Request:
    """Return what `uninstall` asks for, which goes on, and says so, where nothing tells which file is in use."""
    lost = ""
    former = sources.Kept({})
    try:
        former = sources.kept(home)
        if former.file and not Path(former.file).is_file():
            lost = f"{former.file}, the file in use, is gone"
            former = sources.Kept({})
    except (CncpError, OSError) as error:
        lost = ours(error).message
    made = Request(os.environ, sources.find_file(file, os.environ, former, Path.cwd()), {}, former)
    if lost and made.file is None:
        hosts = "but for those set up from here" if readable(home) else "fleet.json is damaged as well"
        warn(f"{lost}; which hosts the cluster has is not known, {hosts}")
    return made
