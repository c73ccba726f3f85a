"""firewall: what must be let through to the controller."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.config import selection
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.fleet import host_addresses
from cncp.ipp import keys
from cncp.machine.firewall import KINDS, Opening, openings
from cncp.machine.node import Node, installed
from cncp.rendezvous import owner
from cncp.tasks.options import CLUSTER_FILE
from cncp.tasks.task import command


@command(
    {
        "kind": "for this one alone",
        "clients": "where clients are: addresses and networks with commas; the hosts of cluster.toml without",
        **CLUSTER_FILE,
    },
    at_controller="firewall",
)
def firewall(context: Context, kind: str = "", clients: str = "", file: str | None = None) -> None:
    """Print the firewall rules for the ports in use. Changes nothing."""
    if kind and kind not in KINDS:
        raise UsageError(f"--kind {kind!r} is not possible", f"--kind must be one of {', '.join(KINDS)}")
    console = Console()
    home = accounts.home(os.environ)
    given = host_addresses.networks(clients, "--clients")
    path, listed = selection.known(file, os.environ, home)
    node, identity = _controller(home)
    if node.settings.listen.startswith("127."):
        console.say("# The controller listens on loopback: nothing has to be opened. To change that: --listen all")
        return
    found, unknown = host_addresses.of_hosts([host for host in listed.everyone if host.direct]) if listed else ([], [])
    if unknown and not found:
        raise CncpError(
            f"no address is known of any host in {path}", "give them: address = ... in their pools, or in /etc/hosts"
        )
    for note in _notes(unknown, listed=listed is not None, nobody=not found, narrowed=bool(given)):
        console.say(f"# {note}")
    meeting = owner.load(home) if node.rendezvous == "owner" else None
    if meeting and listed:
        console.say("# Machines that joined by themselves dial the engines' ports as well: let in where they are.")
    wanted = openings(identity, node.settings.listen, found, given or found, meeting.place.port if meeting else 0)
    # Without sources a rule is for everybody; hosts behind tunnels need none.
    for line in _lines(kind, [opening for opening in wanted if opening.sources or not listed]):
        console.say(line)


def _controller(home: Path) -> tuple[Node, keys.Identity]:
    """Return this machine and its controller's keys and ports. Raises CncpError where it has no controller."""
    node = installed(home)
    identity = keys.load(node.identity)
    if not node.controller or identity is None:
        raise CncpError("this machine runs no controller", "run this on the machine that does")
    return node, identity


def _lines(kind: str, wanted: Sequence[Opening]) -> Iterator[str]:
    """Yield the rules for one kind of firewall, or for each, under its name."""
    for name in [kind] if kind else KINDS:
        if not kind:
            yield f"# {name}"
        yield from KINDS[name](wanted)


def _notes(unknown: Sequence[str], *, listed: bool, nobody: bool, narrowed: bool) -> Iterator[str]:
    for name in unknown:
        yield f"{name} is left out: its address is not known here"
    if not listed:
        yield "There is no list of hosts: engines may come from anywhere."
    if listed and nobody:
        yield "No engine dials the controller: all are on this machine or behind tunnels."
    elif not narrowed:
        whence = "taken to be on these hosts, too" if listed else "let in from anywhere"
        yield f"Clients are {whence}; --clients names where they are."


__all__ = ["firewall"]
