"""cloud.*: instances of clouds, whatever became of the commands that made them; and results kept in the store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.config import sources
from cncp.console import Console
from cncp.errors import CncpError, UsageError, plural
from cncp.pools.cloud import journal, outputs, registered, roster, tending
from cncp.pools.cloud.admission import owner_tag
from cncp.pools.cloud.cloud_pool import CloudPool
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import CLUSTER, Provider, Template
from cncp.pools.cloud.roster import Entry, SomeCloudsFailed
from cncp.pools.guarded import Guarded
from cncp.pools.providers import PROVIDERS, pools
from cncp.tasks import main_job
from cncp.tasks.options import CLUSTER_FILE, JSON, QUIET
from cncp.tasks.scenes import asked
from cncp.tasks.task import command

HEADER = ["INSTANCE", "NAME", "STATE", "CLUSTER", "WHERE", "ZONE", "FLAVOR", "SINCE", "COST", ""]


def _pools(file: str | None) -> list[CloudPool]:
    """Return the pools of instances of the file in use."""
    found = pools(sources.read(asked(file).file)[1], accounts.home(os.environ))
    plain = (pool.inner if isinstance(pool, Guarded) else pool for pool in found)
    return [pool for pool in plain if isinstance(pool, CloudPool)]


def _reached(file: str | None) -> tuple[list[Provider], dict[str, CncpError]]:
    """Return the clouds where instances of ours may be, and why others do not answer."""
    home = accounts.home(os.environ)
    reached: dict[str, Provider] = {}
    failed: dict[str, CncpError] = {}
    named = [
        {"provider": pool.kind, "cloud": pool.wanted["cloud"], "region": pool.wanted["region"]} for pool in _pools(file)
    ]
    for site in roster.sites(roster.known(home, owner_tag(home)), named):
        _reach(site, reached, failed)
    return list(reached.values()), failed


def _reach(site: Mapping[str, str], reached: dict[str, Provider], failed: dict[str, CncpError]) -> None:
    named = " ".join(word for word in site.values() if word)
    try:
        kind = PROVIDERS.find(site.get("provider", ""), "the journal")
        if not issubclass(kind, CloudPool):
            raise UsageError(f"{kind.kind} is no cloud", "see cluster.toml")
        provider = kind.connect(site, Template())
        # The journal has the region that a file may leave to the cloud's own configuration.
        reached.setdefault(" ".join(word for word in provider.site.values() if word), provider)
    except CncpError as error:
        failed[named] = error


def _entries(file: str | None) -> tuple[list[tuple[Provider, list[Entry]]], dict[str, CncpError]]:
    home = accounts.home(os.environ)
    owner = owner_tag(home)
    reached, failed = _reached(file)
    kept, found = roster.known(home, owner), []
    for provider in reached:
        try:
            found.append((provider, roster.entries(provider, owner, kept, Clock())))
        except CncpError as error:
            failed[provider.where] = error
    return found, failed


def _finish(failed: dict[str, CncpError]) -> None:
    if failed:
        raise SomeCloudsFailed(failed)


@command({**CLUSTER_FILE, **JSON}, name="list")
def listing(context: Context, file: str | None = None, json: bool = False) -> None:
    """Show all instances of yours that run, since when, and what they cost; those that nobody wants are marked."""
    console, now = Console(), time.time()
    found, failed = _entries(file)
    entries = [entry for _, each in found for entry in each]
    if json:
        console.data([_document(entry, now) for entry in entries])
    elif entries:
        console.table(HEADER, [_row(entry, now) for entry in entries])
        _total(console, entries)
        if any(entry.orphan for entry in entries):
            console.say("what nobody wants is ended by: cncp cloud.sweep")
    elif not failed:
        console.say("there are no instances of yours")
    _finish(failed)


def _row(entry: Entry, now: float) -> list[str]:
    seen, cost = entry.instance, entry.cost(now)
    since = f"{entry.hours(now):.1f} h"
    told = "" if cost is None else f"{cost:.2f}"
    cluster = seen.tags.get(CLUSTER, "")[:8]
    return [seen.id, seen.name, seen.state, cluster, entry.where, seen.zone, seen.flavor, since, told, entry.orphan]


def _total(console: Console, entries: Sequence[Entry]) -> None:
    prices = [entry.instance.price for entry in entries if entry.instance.costs]
    told = [price for price in prices if price is not None]
    rest = len(prices) - len(told)
    costs = f", {sum(told):.2f} an hour" if told else ""
    console.say(f"{plural(len(entries), 'instance')}{costs}" + (f"; of {rest} no price was told" if rest else ""))


def _document(entry: Entry, now: float) -> dict[str, object]:
    seen = entry.instance
    return {
        "id": seen.id, "name": seen.name, "state": seen.state, "cluster": seen.tags.get(CLUSTER, ""),
        "where": entry.where, "zone": seen.zone, "flavor": seen.flavor,
        "address": seen.address, "since": seen.since, "price": seen.price,
        "cost": entry.cost(now), "orphan": entry.orphan,
    }  # fmt: skip


@command({**CLUSTER_FILE, **QUIET, "yes": "end them without asking"})
def sweep(context: Context, file: str | None = None, yes: bool = False, quiet: bool = False) -> None:
    """End instances of yours that no cluster here wants any more: what is to be ended is shown, and asked."""
    console, home = Console(quiet=quiet), accounts.home(os.environ)
    found, failed = _entries(file)
    doomed = [(provider, [entry for entry in each if entry.orphan]) for provider, each in found]
    orphans = [entry for _, each in doomed for entry in each]
    if not orphans:
        if not failed:
            console.say("there is nothing to sweep: every instance of yours is wanted")
        _finish(failed)
        return
    console.table(HEADER, [_row(entry, time.time()) for entry in orphans])
    if not yes and not _sure(len(orphans)):
        console.say("nothing was ended")
        return
    with journal.locked(home, "cncp cloud.sweep"):
        for provider, each in doomed:
            if each:
                try:
                    roster.sweep(provider, home, owner_tag(home), each, Clock(), console.say)
                except CncpError as error:
                    failed[provider.where] = error
    _finish(failed)


@command({**CLUSTER_FILE, **QUIET})
def tend(context: Context, file: str | None = None, quiet: bool = False) -> None:
    """Look once at pools with `idle` or `idle_client`: end instances, and make more where tasks wait for engines."""
    console = Console(quiet=quiet)
    chosen = tending.wanted(_pools(file))
    if not chosen:
        console.note("no pool of instances has idle or idle_client")
        return
    gate = chosen[0].gate
    with gate.hub() as hub:
        there = registered.work(hub)
    more = [tending.tend(pool, there, gate.clients(), console.phase) for pool in chosen]
    if any(more):
        main_job.converge(console, {}, file=file)


def _sure(count: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask whether these are to be ended", "look at them, then: --yes")
    return input(f"end {plural(count, 'instance')}? [y/N] ").strip().lower() in ("y", "yes")


@command(
    {**CLUSTER_FILE, **QUIET, "name": "what it is called in the store; the folder's name without",
     "force": "replace what is there by that name"},
    takes="folder",
)  # fmt: skip
def save(
    context: Context,
    folder: str = "",
    name: str = "",
    file: str | None = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Put a folder with results into the cluster's store, where it outlives instances and the cluster."""
    console, path = Console(quiet=quiet), outputs.folder(folder)
    key = outputs.checked(name or outputs.named(path))
    store = outputs.store(accounts.home(os.environ), sources.rendezvous(asked(file).file))
    size = outputs.save(store, key, path, force=force)
    console.say(f"{path}: {size / 1e6:.1f} MB saved as {key}; brought back by: cncp cloud.fetch {key}")


@command(
    {**CLUSTER_FILE, **QUIET, "output": "folder to put it into, which must not have it yet; this one without"},
    takes="name",
)
def fetch(context: Context, name: str = "", output: str = ".", file: str | None = None, quiet: bool = False) -> None:
    """Bring back what `cloud.save` put into the store; without a name show what there is."""
    console = Console(quiet=quiet)
    store = outputs.store(accounts.home(os.environ), sources.rendezvous(asked(file).file))
    if not name:
        names = outputs.names(store)
        console.say("\n".join(names) if names else "nothing was saved yet: cncp cloud.save FOLDER")
        return
    made = outputs.fetch(store, outputs.checked(name), Path(output).absolute())
    console.say(f"fetched: {made}")


__all__ = ["fetch", "listing", "save", "sweep", "tend"]
