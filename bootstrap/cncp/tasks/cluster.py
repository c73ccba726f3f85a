"""The verbs on a cluster that is there: status logs check scale restart down interrupt uninstall."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit

from cncp.console import Console
from cncp.errors import UsageError
from cncp.fleet import operations
from cncp.machine.ops import busy_engines, lifecycle
from cncp.machine.ops import status as states
from cncp.pools.providers import looked_after
from cncp.tasks import scenes
from cncp.tasks.options import BUSY, HOSTS, JSON, QUIET, SERVICES
from cncp.tasks.task import command

WATCH = 2.0
"""Seconds after which what is watched is looked at again."""


@command({**HOSTS, **JSON, "watch": f"show it anew every {WATCH:.0f} s, until Ctrl-C"}, at_controller="status")
def status(context: Context, file: str | None = None, limit: str = "", json: bool = False, watch: bool = False) -> None:
    """Show every service: id, host, pid, state, uptime, memory, CPU, restarts, last cause of death."""
    if watch and json:
        raise UsageError("command line: --watch shows a table", "a program asks again: cncp status --json")
    console = Console()
    with scenes.connected(file, limit, console) as scene:
        for rows in console.pages(lambda: operations.status(scene), WATCH if watch else 0.0):
            if json:
                console.data(rows)
                continue
            console.table(states.HEADER, states.rows(rows))
            if line := states.totals(rows):
                console.say(line)
            services = [row for row in rows if row.name != states.MEMBER]
            if services and all(row.state == "down" for row in services):
                stopped = all(scene.each(lambda machine: machine.stopped()).values())
                console.note(f"{'stopped by cncp down' if stopped else 'nothing runs'}; cncp up brings it back")
            if watch:
                scene.tell()


@command(
    {**HOSTS, **SERVICES, "lines": "how many of the last lines", "follow": "go on as the log grows"},
    takes="name",
    at_controller="logs",
)
def logs(
    context: Context,
    name: str = "",
    lines: int = 20,
    follow: bool = False,
    file: str | None = None,
    limit: str = "",
) -> None:
    """Show the logs of a service, or of all of them."""
    with scenes.connected(file, limit, Console()) as scene:
        if follow:
            scene.each(lambda machine: machine.follow(name, lines))
        else:
            scene.show(scene.each_with(lambda machine: machine.logs(name, lines)))


@command({**HOSTS, **JSON, "from-hosts": "dial the controller's ports from every host as well"}, at_controller="check")
def check(
    context: Context, json: bool = False, file: str | None = None, limit: str = "", from_hosts: bool = False
) -> None:
    """Look for what is wrong, and say what to do about it."""
    console = Console()
    with scenes.connected(file, limit, console) as scene:
        findings = operations.check(scene, from_hosts=from_hosts)
        if json:
            console.data(findings)
        for finding in [] if json else findings:
            console.say(f"{scene.inventory.label(finding.host)}{finding.what}\n    -> {finding.remedy}")
        if not (json or findings or scene.failures):
            console.say("all is well")
    if findings:
        raise Exit(code=1)


@command(
    {
        **HOSTS,
        **QUIET,
        **JSON,
        "count": "how many engines, or members of a pool that has a number of them; or how many more or fewer: +1, -1",
        "pool": "the pool whose members are meant, where there are several",
        **BUSY,
    },
    positional=["count"],
    at_controller="scale",
)
def scale(
    context: Context,
    count: str,
    force: bool = False,
    wait: int = 0,
    quiet: bool = False,
    json: bool = False,
    file: str | None = None,
    limit: str = "",
    pool: str = "",
) -> None:
    """Add or remove engines, of several hosts on each, or members of a pool; the others are not touched."""
    lifecycle.check_count(count)
    manners = busy_engines.say(wait=wait, force=force)
    console = Console(quiet=quiet)
    with scenes.connected(file, limit, console) as scene:
        found = scene.scalable(pool)
        if found is None:
            scene.announce("scale on")
            scene.show(operations.scale(scene, count, manners, as_json=json), as_json=json)
        else:
            operations.scale_pool(scene, found, count, manners)
    if found is not None:
        # Members that are missing come as with `up`; other verbs need nothing of that.
        from cncp.tasks.main_job import converge

        converge(console, {}, file=file, as_json=json)


@command({**HOSTS, **QUIET, **SERVICES, **BUSY}, takes="name", at_controller="restart")
def restart(
    context: Context,
    name: str = "",
    quiet: bool = False,
    file: str | None = None,
    limit: str = "",
    wait: int = 0,
    force: bool = False,
) -> None:
    """Restart a service, or all of them."""
    manners = busy_engines.say(wait=wait, force=force)
    with scenes.connected(file, limit, Console(quiet=quiet)) as scene:
        scene.announce("restart on")
        scene.show(scene.each_with(lambda machine: machine.restart(name, manners)))


@command({**HOSTS, **QUIET, **BUSY}, at_controller="down")
def down(
    context: Context,
    quiet: bool = False,
    file: str | None = None,
    limit: str = "",
    wait: int = 0,
    force: bool = False,
) -> None:
    """Stop controller and engines until the next `up`."""
    manners = busy_engines.say(wait=wait, force=force)
    with scenes.connected(file, limit, Console(quiet=quiet)) as scene:
        scene.announce("stopping on")
        scene.show(operations.down(scene, manners))


@command(
    {
        "file": HOSTS["file"],
        "name": "engines, as `status` shows them, or HOST/engine-N, with commas; without, the one that is busy",
        "all": "every engine of the cluster",
    },
    takes="name",
    at_controller="interrupt",
)
def interrupt(context: Context, name: str = "", all: bool = False, file: str | None = None) -> None:
    """Interrupt the task that an engine computes (SIGINT): it ends with KeyboardInterrupt, variables stay."""
    console = Console()
    # Only the controller's machine has the way to all engines.
    with scenes.of_controller(file, console) as machine:
        for line in machine.interrupt(name, everyone=all):
            console.say(line)


@command({**HOSTS, **QUIET})
def uninstall(context: Context, quiet: bool = False, file: str | None = None, limit: str = "") -> None:
    """Stop everything and remove all that was written; what stood there before comes back."""
    cluster = scenes.whole(file, limit, Console(quiet=quiet))
    if cluster.whole and looked_after(cluster.inventory):
        from cncp.tasks import elsewhere

        # First what it alone knows of; then it and this machine are cleared as any others are.
        elsewhere.uninstall(scenes.asked(file), cluster.inventory)
    with cluster as scene:
        scene.announce("removing from")
        for said in operations.uninstall(scene):
            scene.show(said)
        scene.finish()


__all__: list[Any] = ["check", "down", "interrupt", "logs", "restart", "scale", "status", "uninstall"]
