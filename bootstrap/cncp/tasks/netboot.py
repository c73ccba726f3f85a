"""netboot.*: the server of nodes that boot from the network, on this machine."""

from __future__ import annotations

import re
import time
from collections import Counter

from invoke.context import Context
from invoke.exceptions import Exit

from cncp.console import Console
from cncp.errors import CncpError, duration
from cncp.netboot.cidcapt import RefusedError
from cncp.netboot.service import bring_up, server_status
from cncp.netboot.service.server_paths import Paths
from cncp.netboot.service.server_settings import SETTINGS
from cncp.tasks.node import client_at
from cncp.tasks.options import JSON, QUIET
from cncp.tasks.task import command

HEADER = ["SERVICE", "STATE", "PID", "SINCE", "RESTARTS", "LOG"]


def _paths() -> Paths:
    return Paths()


@command(
    {
        **QUIET,
        "interface": "the interface of the nodes' network; the one of before without",
        "address": "the server's address on it, where it has several",
        "dhcp": "addresses to give away, FIRST-LAST; or proxy, beside a DHCP server that is there; "
        "the upper half of the network without",
        "owner": "the account that runs cidcapt, such as slurm; root without",
        "port": "TCP port for those who have a key; 38008 without",
        "plain-port": "TCP port for nodes that boot; 38009 without",
        "no-build": "leave Blancmange as it is, where Debian's packages cannot be had",
        "at-once": "how many nodes may fetch an image at a time; 8 without",
    }
)
def up(
    context: Context,
    interface: str | None = None,
    address: str | None = None,
    dhcp: str | None = None,
    owner: str | None = None,
    port: str | None = None,
    plain_port: str | None = None,
    at_once: str | None = None,
    no_build: bool = False,
    quiet: bool = False,
) -> None:
    """Run cidd, and dnsmasq with iPXE, as services on the nodes' network; what was said before holds."""
    console, paths = Console(quiet=quiet), _paths()
    numbers = {"port": port, "plain_port": plain_port, "at_once": at_once}
    given: dict[str, object] = {"interface": interface, "address": address, "dhcp": dhcp, "owner": owner}
    given |= {name: int(said) if said and re.fullmatch("[0-9]{1,9}", said) else said for name, said in numbers.items()}
    wanted = bring_up.plan(paths, given, console)
    anew = bring_up.up(paths, wanted, console, build=not no_build)
    told = f"new: {', '.join(anew)}" if anew else "nothing had to change"
    console.say(f"cidd answers at {wanted.network.address}:{wanted.settings.port}: {told}")
    console.note(f"jobs call {paths.command}, which reads {paths.access}")
    console.note("next: cncp image.make NAME; switch a node on; cncp node.list")


@command(JSON)
def status(context: Context, json: bool = False) -> None:
    """Show the services, since when they run, where nodes are, and which images there are."""
    console, paths = Console(), _paths()
    rows = server_status.rows(paths)
    settings = SETTINGS.load(paths.etc)
    if not rows or settings is None:
        raise CncpError(
            "no netboot server runs on this machine", "as root: cncp netboot.up, the first time with --interface NAME"
        )
    states, images, unreached = Counter[str](), list[str](), ""
    try:
        client = client_at(str(paths.access))
        states = Counter(node.state for node in client.nodes())
        images = client.images()
    except RefusedError as error:
        unreached = error.message
    if json:
        console.data(
            {
                "services": rows,
                "interface": settings.interface,
                "dhcp": settings.dhcp,
                "nodes": dict(states),
                "images": images,
                "answers": not unreached,
            }
        )
    else:
        console.table(
            HEADER,
            [
                [
                    row.name,
                    "up" if row.running else "down",
                    str(row.pid or ""),
                    duration(time.time() - row.since) if row.since else "",
                    str(row.restarts),
                    row.log,
                ]
                for row in rows
            ],
        )
        console.say(f"nodes: {', '.join(f'{count} {state}' for state, count in sorted(states.items())) or 'none'}")
        console.say(f"images: {', '.join(images) or 'none'}")
    if unreached:
        console.warn(unreached)
    if unreached or not all(row.running for row in rows):
        raise Exit(code=1)


@command({**QUIET, "remove": "take nodes, images, keys and settings away as well"})
def down(context: Context, quiet: bool = False, remove: bool = False) -> None:
    """Stop the server until the next netboot.up; nodes, images, keys and settings stay."""
    console, paths = Console(quiet=quiet), _paths()
    ran = bring_up.down(paths, console, remove=remove)
    console.say(f"stopped {', '.join(ran)}" if ran else "nothing ran")
    if not remove:
        console.note(f"kept: {paths.folder}, {paths.etc}; cncp netboot.up brings it back")


__all__ = ["down", "status", "up"]
