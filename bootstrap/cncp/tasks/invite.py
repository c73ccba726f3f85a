"""invite: a line to paste on any machine that is to give engines to this cluster."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.config import settings, sources
from cncp.console import Console
from cncp.errors import UsageError, duration, plural
from cncp.machine.node import Node, installed
from cncp.machine.ops import inviting, joined_engines
from cncp.rendezvous.documents import Seed
from cncp.tasks import scenes
from cncp.tasks.options import CLUSTER_FILE, JSON, QUIET
from cncp.tasks.task import command

HEADER = ["INVITATION", "MADE", "GOOD FOR", "ENGINES", "NOTE"]


def pasted(seed: Seed) -> str:
    """Return the line that joins, the same for every shell: sh, bash, zsh, fish and tcsh have echo and pipes alike.

    The seed goes in on standard input, and echo is no program: no list of processes shows it.
    """
    return f"echo '{seed.to_json()}' | bash baremetal.sh --join -"


@command(
    {
        **CLUSTER_FILE,
        **JSON,
        **QUIET,
        "hours": "for how long machines may join with it: 0.2 to 24",
        "engines": "engines of each machine that joins: cores, cores-N, gpus or a number",
        "note": "words for --list, such as who it is for",
        "address": "where machines reach this one, if it does not know itself; kept until another is said, or auto",
        "list": "show the invitations that are still good, and who has joined",
        "revoke": "take an invitation back, by the first digits of its name, or all; who has joined stays",
    },
    at_controller="invite",
)
def invite(
    context: Context,
    hours: str = "1",
    engines: str = "cores",
    note: str = "",
    address: str = "",
    list: bool = False,  # what users write
    revoke: str = "",
    file: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Print a line to paste on machines that are to join this cluster with engines of theirs."""
    console, node = Console(quiet=quiet), installed(accounts.home(os.environ))
    if list:
        _list(node, console, as_json=json)
        return
    if revoke:
        taken = inviting.withdraw(Path(node.home), revoke)
        console.say(f"taken back: {', '.join(taken) or 'there was none'}")
        return
    table = sources.rendezvous(scenes.asked(file).file)
    asked = {"engines": settings.parse("engines", engines, "command line: --engines")}
    seed = inviting.invite(node, table, asked, seconds(hours), check_note(note), check_address(address))
    inviting.start(node, console)
    if why := inviting.prove(seed):
        console.warn(f"the document cannot be fetched from here ({why}); look at: cncp logs rendezvous")
    if json:
        console.data({**asdict(seed), "line": pasted(seed)})
        return
    console.note(f"good for {duration(seed.deadline - time.time())}, for any number of machines; who has it can join")
    console.note("paste this where baremetal.sh is; where cncp is installed let it end in: | cncp join -")
    console.say(pasted(seed))


def seconds(hours: str) -> int:
    """Read --hours. Raises UsageError."""
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,4})?", hours):
        raise UsageError(f"command line: --hours {hours!r} is not possible", "give hours, such as 1 or 0.5")
    return round(float(hours) * 3600)


def check_note(note: str) -> str:
    """Return what stands in a list. Raises UsageError."""
    if len(note) > 80 or not note.isprintable():
        raise UsageError("command line: --note is not possible", "give up to 80 characters on one line")
    return note


def check_address(address: str) -> str:
    """Return where this machine is reached. Raises UsageError."""
    return str(settings.parse("external", address, "command line: --address")) if address else ""


def _list(node: Node, console: Console, *, as_json: bool) -> None:
    found = inviting.invitations(Path(node.home))
    joined = Counter(engine.host for engine in joined_engines.of(node, hosts=_names()))
    if as_json:
        console.data({"invitations": [asdict(invitation) for invitation in found], "members": joined})
        return
    now = time.time()
    rows = [
        [
            invitation.batch,
            f"{duration(now - invitation.made)} ago",
            duration(invitation.deadline - now),
            invitation.engines,
            invitation.note,
        ]
        for invitation in found
    ]
    if rows:
        console.table(HEADER, rows)
    else:
        console.say("no invitation is good any more; make one: cncp invite")
    for host, count in sorted(joined.items()):
        console.say(f"joined: {host} with {plural(count, 'engine')}")


def _names() -> list[str]:
    return [host.name for host in scenes.inventory(scenes.asked(None)).everyone]


__all__ = ["invite"]
