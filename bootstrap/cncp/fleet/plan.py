"""`cncp plan` for a cluster of several machines: what `up` would change on every host. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cncp.config.parsers import Value
from cncp.errors import WOULD_CHANGE
from cncp.field_types import ShortText
from cncp.fleet import deploy, registry
from cncp.fleet.any_machine import Said
from cncp.fleet.model import HOME, SHARED, Fleet
from cncp.fleet.registry import Placed
from cncp.ssh import answers
from cncp.ssh.connection import Host
from cncp.ssh.pool import Crew, Outcome
from cncp.ssh.rpc import probe

_TIMEOUT = 120.0  # s


@dataclass(frozen=True)
class Planned:
    """What would be done on a host: whether it is anything, and the list of lines or the JSON types that say it."""

    changes: bool
    said: Said


def plan(fleet: Fleet, *, as_json: bool) -> Outcome[Planned]:
    """Ask every pool, and every host but this machine, these at the same time."""
    remote = [spec for spec in fleet.limit if not spec.local]
    todo = {pool.name: lines for pool in fleet.concerned if (lines := list(pool.plan()))}
    pools = {name: Planned(True, {"acquire": lines} if as_json else lines) for name, lines in todo.items()}
    if not remote:
        return Outcome(pools)
    places = registry.load(fleet.home)
    ours = deploy.code()

    def ask(host: Host) -> Planned:
        name = host.spec.name
        return _of(host, places[name], fleet.settings[name], ours, as_json=as_json)

    with Crew([spec for spec in remote if spec.name in places], strict=fleet.strict) as crew:
        outcome = crew.each(ask)
    new = {spec.name: _whole("set up: nothing of ours is there", as_json) for spec in remote if spec.name not in places}
    found = {**outcome.results, **new}
    in_order = {spec.name: found[spec.name] for spec in remote if spec.name in found}
    return Outcome({**pools, **in_order}, {**crew.failures, **outcome.failures})


def _whole(change: str, as_json: bool) -> Planned:
    return Planned(True, {} if as_json else [change])


def _of(host: Host, placed: Placed, settings: Mapping[str, Value], ours: deploy.Code, *, as_json: bool) -> Planned:
    there = probe(host, HOME, SHARED).code[SHARED if placed.shared else HOME]
    if there != ours.digest:
        return _whole("bring the code; what follows from it is known only then", as_json)
    words = ["plan", "--detailed-exitcode", "--forget"]
    there_too = deploy.variables(host, deploy.named_there(settings, placed.root), placed.root)
    words += deploy.flags(there_too)
    argv = placed.remote("cncp", *words, "--json") if as_json else placed.command(*words)
    result = host.run(argv, timeout=_TIMEOUT, check=False)
    if result.status not in (0, WOULD_CHANGE):
        raise deploy.failure(placed.name, result.stderr, result.status)
    changes = result.status == WOULD_CHANGE
    if as_json:
        return Planned(changes, answers.read_remote(placed.name, result.output, dict[ShortText, object]))
    return Planned(changes, result.stdout.splitlines())
