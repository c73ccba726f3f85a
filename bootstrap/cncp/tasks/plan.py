"""`cncp plan`: what `up` would change, on this machine and on all others of the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from invoke.context import Context
from invoke.exceptions import Exit

from cncp.config.asked import Request, request
from cncp.config.inventory import LOCAL
from cncp.console import Console
from cncp.errors import WOULD_CHANGE
from cncp.fleet import plan as plans
from cncp.fleet.plan import Planned
from cncp.fleet.scene import show
from cncp.machine.actor import Actor
from cncp.machine.converge import engine_choice
from cncp.machine.node import Node
from cncp.machine.ops import apply as converging
from cncp.machine.services import service_manager
from cncp.ssh.pool import SomeHostsFailed, tell
from cncp.tasks import rollout_report as reports
from cncp.tasks import scenes
from cncp.tasks.options import FORGET, HOST_KEYS, HOSTS, JSON, is_strict
from cncp.tasks.task import command


@command(
    {**HOSTS, **JSON, **FORGET, **HOST_KEYS, "detailed-exitcode": "exit with 5 when something would change"},
    settings=True,
    at_controller="plan",
)
def plan(
    context: Context,
    flags: Mapping[str, str],
    file: str | None = None,
    json: bool = False,
    forget: bool = False,
    detailed_exitcode: bool = False,
    limit: str = "",
    host_keys: str = "accept-new",
) -> None:
    """Show what `up` would change, and change nothing."""
    console = Console()
    asked = request(os.environ, file=file, flags=flags, forget=forget)
    hosts = scenes.inventory(asked)
    wanted = reports.fleet(asked, hosts, limit=limit, strict=is_strict(host_keys))
    concerned = not limit or any(host.local for host in wanted.limit)
    others = plans.plan(wanted, as_json=json)
    planned = {**({LOCAL: _here(asked, as_json=json)} if concerned else {}), **others.results}
    tell(others.failures, console)
    # Of what stands in files that were damaged no byte can be shown as it is.
    show({name: todo.said for name, todo in planned.items()}, hosts, console, as_json=json)
    if others.failures:
        raise SomeHostsFailed(others.failures, len(wanted.limit))
    if detailed_exitcode and any(todo.changes for todo in planned.values()):
        raise Exit(code=WOULD_CHANGE)


def _here(asked: Request, *, as_json: bool) -> Planned:
    node = converging.describe(asked)
    todo = converging.plan(node, service_manager(node, Actor(node.account)))
    return Planned(not todo.empty, _document(todo) if as_json else list(_lines(node, todo)))


def _document(todo: converging.Plan) -> dict[str, object]:
    return {
        "leave": todo.leave,
        "files": [{"path": file.path, "what": file.action, "diff": file.diff} for file in todo.files],
        "remove": list(todo.removals),
        "secrets": list(todo.secrets),
        "start": list(todo.start),
        "stop": list(todo.stop),
    }


def _lines(node: Node, todo: converging.Plan) -> Iterator[str]:
    if todo.empty:
        yield "nothing to change"
        return
    by_chef = engine_choice.plan(node, Actor(node.account))
    if by_chef is not None:
        for update in by_chef:
            yield update.resource
            yield from (f"    {line}" for line in update.lines)
        return
    if todo.leave:
        yield todo.leave
    for change in todo.files:
        yield f"{change.action} {change.path}"
        yield from (f"    {line}" for line in change.diff.splitlines())
    yield from todo.secrets
    yield from (f"remove {path}" for path in todo.removals)
    for verb, names in (("stop", todo.stop), ("start", todo.start)):
        if names:
            yield f"{verb} {', '.join(names)}"
