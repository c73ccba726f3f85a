"""What is asked of all hosts by `up`, and what a user is told of what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cncp import accounts
from cncp.config import sources
from cncp.config.asked import Request
from cncp.config.inventory import HostSpec, Inventory
from cncp.config.parsers import Value
from cncp.console import Console
from cncp.errors import CncpError, duration, plural
from cncp.fleet.model import Fleet
from cncp.fleet.phases.base import Report
from cncp.machine.node import kept_by
from cncp.machine.ops import summary
from cncp.pools.providers import former, pools
from cncp.ssh.pool import SomeHostsFailed

HEADER = ["HOST", "ENGINES", "SERVICE MANAGER", "TIME", ""]


def fleet(asked: Request, hosts: Inventory, *, limit: str, strict: bool) -> Fleet:
    """Check the settings of every host, and what pools want. Raises CncpError, and changes nothing."""
    home = accounts.home(asked.environment)

    def settings(host: HostSpec) -> dict[str, Value]:
        if host.name == hosts.controller.name:
            return sources.for_controller(
                file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former
            )
        return sources.for_host(
            host, file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former
        )

    of_pools = pools(hosts, home)
    found = Fleet(
        hosts,
        {host.name: settings(host) for host in hosts.everyone},
        home,
        hosts.limited(limit),
        strict,
        whole=not limit,
        pools=of_pools,
        former=former(of_pools, home),
        choose=settings,
    )
    for pool in found.concerned:
        settings(HostSpec(pool.name, settings=pool.settings))
        pool.check()
    return found


def report(wanted: Fleet, done: Report, console: Console, *, following: Sequence[str], as_json: bool) -> None:
    """Say what came of bringing all machines up, and what may follow. Raises SomeHostsFailed."""
    failures = failures_of(done)
    many = wanted.inventory.named
    if as_json:
        console.data(_document(done, failures) if many else _own_document(done))
    else:
        if many:
            console.table(HEADER, _rows(done, failures))
        for line in [*(_lines(done, failures) if many else _own_lines(done)), *following]:
            console.say(line)
    insist(done, "--limit")


def insist(done: Report, again: str = "") -> None:
    """Raise SomeHostsFailed where something has failed; ``again`` is as there, and names no pool or member of one."""
    if failures := failures_of(done):
        hosts = {host.name for host in done.limit}
        able = failures.keys() <= hosts
        raise SomeHostsFailed(failures, len(hosts | done.members.keys() | failures.keys()), again if able else "")


def _own_document(done: Report) -> dict[str, object]:
    """Return what came of a machine by itself as JSON types: its own report, with the time of all of it."""
    (made,) = done.hosts.values()
    return summary.document(replace(made, seconds={"environment": done.seconds["environment"], **made.seconds}))


def _own_lines(done: Report) -> list[str]:
    (made,) = done.hosts.values()
    return summary.lines(done.node, made)


def _document(done: Report, failures: Mapping[str, CncpError]) -> dict[str, object]:
    return {
        "answering": done.all_answering,
        "changed": done.changed,
        "elapsed": round(summary.elapsed(), 2),
        "engines": done.all_engines,
        "failures": {name: {"what": error.message, "hint": error.hint} for name, error in failures.items()},
        "hosts": {name: {**host.to_json(), "answering": done.answering(name)} for name, host in done.hosts.items()},
        "members": [member.document() for member in done.members.values()],
        "profile": done.profile,
        "seconds": done.seconds,
    }


def _lines(done: Report, failures: Mapping[str, CncpError]) -> list[str]:
    seen = f"{done.all_answering}/{done.all_engines} engines answer · profile {done.profile}"
    return [
        *([] if done.changed or failures else ["nothing to change"]),
        f"{seen} · {plural(len(done.hosts), 'host')} · {summary.elapsed():.1f} s",
    ]


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


def _rows(done: Report, failures: Mapping[str, CncpError]) -> list[list[str]]:
    rows = []
    for host in done.limit:
        report = done.hosts.get(host.name)
        said = failures[host.name].message if host.name in failures else ""
        if report is None:
            rows.append([host.name, "-", "", "", said])
            continue
        engines = f"{done.answering(host.name)}/{len(report.uuids)}" if report.uuids else "controller"
        took = f"{done.host_seconds[host.name]:.1f} s"
        rows.append([host.name, engines, kept_by(report.service_manager, report.scope), took, said])
    for member in done.members.values():
        took = duration(member.age) if member.age else ""
        rows.append([member.name, str(member.engines or "-"), member.state.value, took, member.cause])
    return rows
