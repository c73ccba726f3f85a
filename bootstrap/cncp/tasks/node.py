"""node.*: nodes that boot from the network, as cidd knows them."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from invoke.context import Context

from cncp.console import Console
from cncp.errors import CncpError, UsageError, duration, plural
from cncp.netboot.cidcapt import CiddClient, client_of, node_names
from cncp.netboot.cidkid import WAIT
from cncp.netboot.node_db import Event
from cncp.netboot.node_states import Node
from cncp.netboot.service.server_paths import Paths
from cncp.records import read
from cncp.tasks.options import JSON
from cncp.tasks.task import command

HEADER = ["NODE", "STATE", "SINCE", "IMAGE", "WANTED", "JOB", "CARD", "REASON"]
ACCESS = {"access": "the file by which cidd is reached; /etc/cncp/cidcapt.json without"}


def client_at(access: str) -> CiddClient:
    """Return who asks cidd, with what an access file says, "" for the server's own. Raises CncpError."""
    path = Path(access or Paths().access)
    try:
        return client_of(path)
    except FileNotFoundError:
        raise CncpError(
            f"there is no {path}, by which cidd is reached", "on the server: cncp netboot.up; elsewhere: copy it"
        ) from None
    except PermissionError:
        raise CncpError(
            f"{path} is not yours to read", "as root, or as its owner: cncp netboot.up --owner NAME"
        ) from None


def _target(name: str, part: str = "") -> str:
    return f"/v1/nodes/{urllib.parse.quote(name, safe='')}{part}"


@command({**JSON, **ACCESS}, name="list")
def listing(context: Context, json: bool = False, access: str = "") -> None:
    """Show all nodes: where each is, since when, what it runs and what it is wanted to run."""
    console = Console()
    nodes = client_at(access).nodes()
    if json:
        console.data(nodes)
    elif not nodes:
        console.say("there are no nodes: switch one on that boots from the network")
    else:
        console.table(HEADER, [_row(node) for node in nodes])
        unknown = [node.name for node in nodes if node.state == "unknown"]
        if unknown:
            console.note(f"{plural(len(unknown), 'node')} to vouch for: cncp node.accept {unknown[0]} --name NAME")


def _row(node: Node) -> list[str]:
    state = f"{node.state} {node.percent} %" if node.percent else node.state
    since = duration(max(0.0, time.time() - node.since))
    return [node.name, state, since, node.image, node.wanted, node.job, node.mac, node.reason]


def _each(access: str, method: str, targets: Mapping[str, str], told: Callable[[bytes], str]) -> None:
    """Ask for several nodes; those that there are not, or that cannot, keep the others from nothing.

    ``targets`` are by the nodes' names; ``told`` is what to say of an answer.
    """
    console, client, failed = Console(), client_at(access), dict[str, CncpError]()
    for name, target in targets.items():
        try:
            console.say(f"{name}: {told(client.ask(method, target))}")
        except CncpError as error:
            failed[name] = error
    if failed:
        name, first = next(iter(failed.items()))
        others = f", and {len(failed) - 1} more of {len(targets)}" if len(failed) > 1 else ""
        raise CncpError(
            f"{first.message}{others}" if name in first.message else f"{name}: {first.message}{others}", first.hint
        )


@command({**ACCESS, "name": "what they are to be called, as many as nodes: n1, or n[1-16]"}, takes="node")
def accept(context: Context, node: str = "", name: str = "", access: str = "") -> None:
    """Vouch for nodes that asked for a boot script: from then on jobs may have them."""
    nodes = node_names(node)
    names = node_names(name) if name else nodes
    if len(names) != len(nodes):
        raise UsageError(
            f"{plural(len(nodes), 'node')} cannot get {plural(len(names), 'name')}", "give as many names as nodes"
        )
    targets = {
        known: _target(known, f"?name={urllib.parse.quote(wanted)}" if wanted != known else "")
        for known, wanted in zip(nodes, names, strict=True)
    }

    def told(answer: bytes) -> str:
        found = Node.from_json(answer, "what cidd says of the node")
        return f"accepted as {found.name}, {found.state}"

    _each(access, "POST", targets, told)


@command(ACCESS, takes="node")
def again(context: Context, node: str = "", access: str = "") -> None:
    """Have nodes that failed, or hang, begin anew; switch them off and on."""
    targets = {name: _target(name, "/again") for name in node_names(node)}
    _each(access, "POST", targets, lambda _: "begins anew at its next boot")


@command(ACCESS, takes="node")
def forget(context: Context, node: str = "", access: str = "") -> None:
    """Know nothing of nodes any more: their keys are worth nothing, and they wait to be accepted again."""
    _each(access, "DELETE", {name: _target(name) for name in node_names(node)}, lambda _: "forgotten")


@command({**JSON, **ACCESS, "follow": "go on as things happen, until Ctrl-C"}, takes="node")
def trace(context: Context, node: str = "", follow: bool = False, json: bool = False, access: str = "") -> None:
    """Show what happened to a node, now and before."""
    if follow and json:
        raise UsageError("command line: --follow shows lines", "a program asks again: cncp node.trace NODE --json")
    console, (name, *others) = Console(), node_names(node)
    if others:
        raise UsageError(f"{len(others) + 1} nodes are more than one", "name one")
    client = client_at(access)
    after, wait, found = 0, "", list[dict[str, object]]()
    while True:
        answer = read(
            list[dict[str, object]],
            client.ask("GET", _target(name, f"/events?after={after}{wait}")),
            "what cidd says of the node",
        )
        for event in answer:
            number = event.pop("number", 0)
            after = max(after, number if isinstance(number, int) else 0)
            if not json:
                console.say(_line(Event.from_json(event, "an event of the node")))
        found += answer
        if not answer and not follow:
            break
        wait = "" if answer else f"&wait={WAIT}"
    if json:
        console.data(found)
    elif not found:
        raise CncpError(f"nothing is known of a node {name}", "cncp node.list names those that there are")


def _line(event: Event) -> str:
    when = datetime.fromtimestamp(event.when).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    job = f"job {event.job}" if event.job else ""
    told = " ".join(filter(None, (event.image, "" if job in event.text else job, event.text)))
    return f"{when}  {event.state:<10}  {told}".rstrip()


__all__ = ["accept", "again", "forget", "listing", "trace"]
