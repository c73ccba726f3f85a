"""The verbs where cluster.toml names other hosts: wiring between flags, fleet and console."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit

from cncp import accounts
from cncp.config import sources
from cncp.config.inventory import LOCAL, HostSpec, Inventory
from cncp.config.settings import Value
from cncp.console import Console
from cncp.errors import CncpError, ours, plural
from cncp.fleet import operations
from cncp.fleet.model import Fleet
from cncp.fleet.phases.base import Report
from cncp.fleet.registry import forgotten, readable
from cncp.machine.ops import status as states
from cncp.machine.ops.apply import Request
from cncp.pools.providers import pools, with_hosts
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import SomeHostsFailed, at_once, tell

FOREVER = 10.0**8
"""Seconds: until the user ends it."""

WATCH = 2.0
"""Seconds after which what is watched is looked at again."""

HEADER = ["HOST", "ENGINES", "SERVICE MANAGER", "TIME", ""]


def inventory(asked: Request) -> Inventory | None:
    """Return the hosts of the file in use and its pools, None where the cluster is this machine alone."""
    found = sources.read(asked.file)[1]
    return with_hosts(found, pools(found, accounts.home(asked.environment))) if found else None


def fleet(asked: Request, hosts: Inventory, *, limit: str, strict: bool) -> Fleet:
    """Check the settings of every host. Raises UsageError, and changes nothing."""

    def settings(host: HostSpec) -> dict[str, Value]:
        if host.name == hosts.controller.name:
            return sources.for_controller(
                file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former
            )
        return sources.for_host(
            host, file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former
        )

    return Fleet(
        hosts,
        {host.name: settings(host) for host in hosts.everyone},
        accounts.home(asked.environment),
        hosts.limited(limit),
        strict,
    )


def report(
    wanted: Fleet, done: Report, console: Console, *, following: Sequence[str], elapsed: float, as_json: bool
) -> None:
    """Say what came of bringing all hosts up, a line a host, and what may follow. Raises SomeHostsFailed.

    ``elapsed`` is in s.
    """
    failures = failures_of(done)
    if as_json:
        console.data(_document(done, failures, elapsed))
    else:
        _show(wanted, done, failures, console, elapsed)
        for line in following:
            console.say(line)
    if failures:
        raise SomeHostsFailed(failures, len(wanted.limit))


def _document(done: Report, failures: Mapping[str, CncpError], elapsed: float) -> dict[str, Any]:
    return {
        "answering": done.all_answering,
        "changed": done.changed,
        "elapsed": round(elapsed, 2),
        "engines": done.all_engines,
        "failures": {name: {"what": error.message, "hint": error.hint} for name, error in failures.items()},
        "hosts": {name: {**host.document(), "answering": done.answering(name)} for name, host in done.hosts.items()},
        "profile": done.profile,
        "seconds": done.seconds,
    }


def _show(wanted: Fleet, done: Report, failures: Mapping[str, CncpError], console: Console, elapsed: float) -> None:
    console.table(HEADER, _rows(wanted, done, failures))
    if not done.changed and not failures:
        console.say("nothing to change")
    console.say(
        f"{done.all_answering}/{done.all_engines} engines answer · profile {done.profile} · "
        f"{plural(len(done.hosts), 'host')} · {elapsed:.1f} s"
    )


def failures_of(done: Report) -> dict[str, CncpError]:
    """Return what failed, by host: something on the way, or engines that do not answer."""
    silent = {
        name: CncpError(
            f"{done.answering(name)} of {len(host.uuids)} engines answer{done.endings.get(name, '')}",
            f"cncp logs --limit {name}",
        )
        for name, host in done.hosts.items()
        if done.silent(name)
    }
    return {**done.failures, **silent}


def _rows(wanted: Fleet, done: Report, failures: Mapping[str, CncpError]) -> list[list[str]]:
    rows = []
    for host in wanted.limit:
        report = done.hosts.get(host.name)
        said = failures[host.name].message if host.name in failures else ""
        if report is None:
            rows.append([host.name, "-", "", "", said])
            continue
        engines = f"{done.answering(host.name)}/{len(report.uuids)}" if report.uuids else "controller"
        scope = f" ({report.scope})" if report.service_manager == "systemd" else ""
        took = f"{done.host_seconds[host.name]:.1f} s"
        rows.append([host.name, engines, report.service_manager + scope, took, said])
    return rows


def scene(asked: Request, hosts: Inventory, limit: str) -> operations.Scene:
    """Return the hosts of the cluster in use, to be connected."""
    return operations.Scene(hosts, accounts.home(asked.environment), hosts.limited(limit))


def set_up_from_here(hosts: Inventory | None, home: Path) -> Inventory | None:
    """Return the hosts of a cluster with those that are no longer in its file, but still set up."""
    gone = forgotten(hosts, home).values()
    if not gone:
        return hosts
    return replace(hosts, hosts=(*hosts.hosts, *gone)) if hosts else Inventory(tuple(gone))


def asked(file: str | None) -> Request:
    """Return what a verb without settings asks for: the file in use, and nothing else."""
    return _asked(file, sources.kept(accounts.home(os.environ)))


def asked_at_the_end(file: str | None, warn: Callable[[str], None]) -> Request:
    """Return what `uninstall` asks for, which goes on, and says so, where nothing tells which file is in use."""
    home, lost = accounts.home(os.environ), ""
    former = sources.Kept({})
    try:
        former = sources.kept(home)
        if former.file and not Path(former.file).is_file():
            lost = f"{former.file}, the file in use, is gone"
            former = sources.Kept({})
    except (CncpError, OSError) as error:
        lost = ours(error).message
    if lost and _asked(file, former).file is None:
        hosts = "but for those set up from here" if readable(home) else "fleet.json is damaged as well"
        warn(f"{lost}; which hosts the cluster has is not known, {hosts}")
    return _asked(file, former)


def _asked(file: str | None, former: sources.Kept) -> Request:
    return Request(os.environ, sources.find_file(file, os.environ, former, Path.cwd()), {}, former)


def finish(view: operations.Scene, console: Console) -> None:
    """Say which hosts failed, a line each. Raises SomeHostsFailed."""
    tell(view.failures, console)
    if view.failures:
        raise SomeHostsFailed(view.failures, len(view.limit))


def relay(view: operations.Scene, console: Console, *words: str, names: Sequence[str] | None = None) -> dict[str, int]:
    """Run a verb on every host; print what each says, its name before every line. Return exit codes."""
    outcome = view.ask(*words, names=names)
    view.failures.update(outcome.failures)
    for name, reply in outcome.results.items():
        for line in reply.stdout.splitlines():
            console.say(f"[{name}] {line}")
        for line in reply.stderr.splitlines():
            if line.startswith(("error:", "hint:", "warning:")):
                console.warn(f"[{name}] {line}")
    return {name: reply.status for name, reply in outcome.results.items()}


def status(view: operations.Scene, console: Console, *, as_json: bool, watch: bool) -> None:
    """Show the services of all hosts in one table; with ``watch`` again and again."""
    with view:
        for rows in console.pages(lambda: operations.status(view), WATCH if watch else 0.0):
            if as_json:
                console.data(rows)
            else:
                show([states.Status(**row) for row in rows], console)
                if rows and all(row["state"] == "down" for row in rows):
                    console.note("nothing runs; cncp up brings it back")
            if watch:
                tell(view.failures, console)
        finish(view, console)


def show(found: list[states.Status], console: Console) -> None:
    """Show services in a table, and what they come to."""
    console.table(states.HEADER, states.rows(found))
    if line := states.totals(found):
        console.say(line)


def logs(view: operations.Scene, console: Console, name: str, lines: int, *, follow: bool) -> None:
    """Show the last lines of all hosts' logs, or go on with them as they grow."""
    words = ["logs", f"--lines={lines}", *([f"--name={name}"] if name else [])]
    with view:
        if follow:
            at_once(view.hosts, lambda host: _follow(view, host, [*words, "--follow"], console))
            return
        relay(view, console, *words)
        finish(view, console)


def _follow(view: operations.Scene, host: Host, words: Sequence[str], console: Console) -> None:
    """Show what a host's logs go on with, its name before every line, until the user ends it."""
    host.run(
        view.argv(host, *words),
        timeout=FOREVER,
        check=False,
        out=lambda line: console.say(f"[{host.spec.name}] {line}"),
        line=lambda line: console.warn(f"[{host.spec.name}] {line}"),
    )


def check(view: operations.Scene, console: Console, *, as_json: bool, from_hosts: bool) -> None:
    """Show what is wrong on every host, and with the way from each to the controller."""
    with view:
        findings = operations.check(view, from_hosts=from_hosts)
        if as_json:
            console.data(findings)
        else:
            for finding in findings:
                console.say(f"[{finding['host']}] {finding['what']}\n    -> {finding['remedy']}")
            if not findings and not view.failures:
                console.say("all is well")
        finish(view, console)
    if findings:
        raise Exit(code=1)


def scale(view: operations.Scene, console: Console, words: Sequence[str]) -> None:
    """Have every host that runs engines run so many."""
    _through(view, console, "scale", words, names=[host.name for host in view.inventory.hosts])


def restart(view: operations.Scene, console: Console, words: Sequence[str]) -> None:
    """Restart services on every host."""
    _through(view, console, "restart", words)


def interrupt(view: operations.Scene, console: Console, words: Sequence[str]) -> None:
    """Have the controller's machine interrupt engines, of whatever machines."""
    _through(view, console, "interrupt", words)


def _through(
    view: operations.Scene, console: Console, verb: str, words: Sequence[str], names: Sequence[str] | None = None
) -> None:
    with view:
        console.phase(f"{verb} on {plural(len(view.hosts), 'host')}")
        statuses = relay(view, console, verb, *words, names=names)
        for name, code in statuses.items():
            if code:
                view.failures[name] = HostError(name, f"{verb} exited with {code}", "see what it said above")
        finish(view, console)


def down(view: operations.Scene, console: Console, words: Sequence[str] = ()) -> None:
    """Stop the engines of all hosts, then the controller."""
    head = view.inventory.controller.name
    with view:
        console.phase(f"stopping on {plural(len(view.hosts), 'host')}")
        relay(view, console, "down", "--quiet", *words, names=[name for name in view.hosts if name != head])
        relay(view, console, "down", "--quiet", *words, names=[head])
        finish(view, console)


def everything(view: operations.Scene) -> operations.Scene:
    """Return the hosts of a cluster with the machine in charge, which has the command even if it runs nothing."""
    if any(host.local for host in view.limit) or len(view.limit) < len(view.inventory.everyone):
        return view
    return operations.Scene(view.inventory, view.home, [*view.limit, HostSpec(LOCAL)])


def uninstall(view: operations.Scene, console: Console) -> None:
    """Take everything away on all hosts, this machine last."""
    with everything(view) as whole:
        console.phase(f"removing from {plural(len(whole.hosts), 'host')}")
        for name, reply in operations.uninstall(whole).items():
            for line in reply.stdout.splitlines():
                console.say(f"[{name}] {line}")
        finish(whole, console)
