"""cloud.*: instances of clouds, whatever became of the commands that made them; and results kept in the store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from invoke.context import Context

from cncp import accounts
from cncp.config import sources
from cncp.console import Console
from cncp.errors import CncpError, UsageError, plural
from cncp.pools.base import Pool
from cncp.pools.cloud import cloud_disk, journal, outputs, registered, roster, tending
from cncp.pools.cloud import images as uploads
from cncp.pools.cloud.admission import owner_tag
from cncp.pools.cloud.cloud_pool import CloudPool, load_store
from cncp.pools.cloud.images import Image, Images
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import CLUSTER, OWNER, Provider, Template
from cncp.pools.cloud.roster import Entry, SomeCloudsFailed
from cncp.pools.guarded import Guarded
from cncp.pools.netboot.netboot_pool import NetbootPool, seed_store
from cncp.pools.providers import PROVIDERS, pools
from cncp.serve import errands
from cncp.tasks import main_job
from cncp.tasks.options import CLUSTER_FILE, JSON, QUIET
from cncp.tasks.scenes import asked
from cncp.tasks.task import command

HEADER = ["INSTANCE", "NAME", "STATE", "CLUSTER", "WHERE", "ZONE", "FLAVOR", "SINCE", "COST", ""]
IMAGES = ["IMAGE", "NAME", "STATE", "PROFILE", "WHERE", "SINCE", "SIZE", ""]
PACKAGED = "cncp-compute.qcow2"  # as vm.package has it; what that imports is not wanted here


C = TypeVar("C", bound=Provider | Images)


def _pools(file: str | None) -> list[CloudPool]:
    """Return the pools of instances of the file in use."""
    return [pool for pool in _all_pools(file) if isinstance(pool, CloudPool)]


def _all_pools(file: str | None) -> list[Pool]:
    found = pools(sources.read(asked(file).file)[1], accounts.home(os.environ))
    return [pool.inner if isinstance(pool, Guarded) else pool for pool in found]


def _kind(site: Mapping[str, str]) -> type[CloudPool]:
    kind = PROVIDERS.find(site.get("provider", ""), "the journal")
    if not issubclass(kind, CloudPool):
        raise UsageError(f"{kind.kind} is no cloud", "see cluster.toml")
    return kind


def _of_instances(site: Mapping[str, str]) -> Provider:
    return _kind(site).connect(site, Template())


def _of_images(site: Mapping[str, str]) -> Images:
    return _kind(site).images(site)


def _reached(file: str | None, connect: Callable[[Mapping[str, str]], C]) -> tuple[list[C], dict[str, CncpError]]:
    """Return the clouds where something of ours may be, and why others do not answer."""
    home = accounts.home(os.environ)
    reached: dict[str, C] = {}
    failed: dict[str, CncpError] = {}
    named = [*(pool.site for pool in _pools(file)), *(upload.site for upload in uploads.begun(home))]
    for site in roster.sites(roster.known(home, owner_tag(home)), named):
        try:
            cloud = connect(site)
            # The journal has the region that a file may leave to the cloud's own configuration.
            reached.setdefault(" ".join(word for word in cloud.site.values() if word), cloud)
        except CncpError as error:
            failed[" ".join(word for word in site.values() if word)] = error
    return list(reached.values()), failed


def _entries(file: str | None) -> tuple[list[tuple[Provider, list[Entry]]], dict[str, CncpError]]:
    home = accounts.home(os.environ)
    owner = owner_tag(home)
    reached, failed = _reached(file, _of_instances)
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


@command({**CLUSTER_FILE, **JSON, "images": "show images in their place"}, name="list", at_controller="cloud.list")
def listing(context: Context, file: str | None = None, images: bool = False, json: bool = False) -> None:
    """Show all instances of yours that run, since when, and what they cost; those that nobody wants are marked."""
    console, now = Console(), time.time()
    if images:
        _list_images(console, file, as_json=json)
        return
    found, failed = _entries(file)
    entries = [entry for _, group in found for entry in group]
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


@command(
    {
        **CLUSTER_FILE,
        **QUIET,
        "images": "take away images in their place, which no pool of the file names",
        "yes": "do it without asking",
    },
    at_controller="cloud.sweep",
)
def sweep(
    context: Context, file: str | None = None, images: bool = False, yes: bool = False, quiet: bool = False
) -> None:
    """End instances of yours that no cluster here wants any more: what is to be ended is shown, and asked."""
    console, home = Console(quiet=quiet), accounts.home(os.environ)
    if images:
        _sweep_images(console, file, yes=yes)
        return
    found, failed = _entries(file)
    doomed = [(provider, [entry for entry in group if entry.orphan]) for provider, group in found]
    orphans = [entry for _, group in doomed for entry in group]
    if not orphans:
        if not failed:
            console.say("there is nothing to sweep: every instance of yours is wanted")
        _finish(failed)
        return
    console.table(HEADER, [_row(entry, time.time()) for entry in orphans])
    if not yes and not _sure(f"end {plural(len(orphans), 'instance')}"):
        console.say("nothing was ended")
        return
    with journal.locked(home, "cncp cloud.sweep"):
        # An `up` meanwhile has written its batches down, and they are wanted.
        kept = roster.known(home, owner_tag(home))
        for provider, group in doomed:
            unwanted = [entry for entry in group if roster.judged(entry.instance, kept)]
            if unwanted:
                try:
                    roster.sweep(provider, home, owner_tag(home), unwanted, Clock(), console.say)
                except CncpError as error:
                    failed[provider.where] = error
    _finish(failed)


@command({**CLUSTER_FILE, **QUIET})
def tend(context: Context, file: str | None = None, quiet: bool = False) -> None:
    """Look once at pools with `idle` or `idle_client`: end instances, and make more where tasks wait for engines.

    What netbooted nodes join by is made anew where that is due.
    """
    console = Console(quiet=quiet)
    failed = dict[str, CncpError]()
    every = _all_pools(file)
    if file is None:
        _forget_others({pool.name for pool in every})
    for netbooted in every:
        try:
            if isinstance(netbooted, NetbootPool) and netbooted.renew():
                console.phase(f"{netbooted.name}: what its nodes join by is good for longer")
        except CncpError as error:
            failed[netbooted.name] = error
    chosen = tending.wanted(_pools(file))
    if not chosen:
        _finish(failed)
        console.note("no pool of instances has idle or idle_client")
        return
    gate = chosen[0].gate
    with gate.hub() as hub:
        there = registered.work(hub)
    clients, more = gate.clients(), False
    for pool in chosen:
        try:
            more |= tending.tend(pool, there, clients, console.phase)
        except CncpError as error:
            # The others cost as well.
            failed[pool.name] = error
    if more:
        main_job.converge(console, {}, file=file)
    _finish(failed)


def _forget_others(names: Collection[str]) -> None:
    """Take away what has this verb be run for pools that the file in use has no more."""
    home = accounts.home(os.environ)
    kept = {store(name).path(home) for name in names for store in (load_store, seed_store)}
    for pattern in (errands.WANTED, errands.RENEWED):
        for path in (home / "cloud").glob(pattern):
            if path not in kept:
                path.unlink(missing_ok=True)


def _sure(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask whether these are to go", "look at them, then: --yes")
    return input(f"{question}? [y/N] ").strip().lower() in ("y", "yes")


def _images(file: str | None) -> tuple[list[tuple[Images, list[Image]]], dict[str, CncpError]]:
    """Return the images of ours in each cloud, the oldest first, and why clouds do not say."""
    mine = {OWNER: owner_tag(accounts.home(os.environ))}
    reached, failed = _reached(file, _of_images)
    found = []
    for cloud in reached:
        try:
            listed = Clock().asked(lambda: cloud.images(mine))  # noqa: B023  # called within this turn
            found.append((cloud, sorted(listed, key=lambda image: (image.since, image.id))))
        except CncpError as error:
            failed[cloud.where] = error
    return found, failed


def _rows(cloud: Images, there: Sequence[Image], named: Collection[str]) -> list[list[str]]:
    now = time.time()
    return [
        [image.id, image.name, image.state, image.tags.get(uploads.PROFILE, ""), cloud.where,
         f"{(now - image.since) / 86400:.1f} d", f"{image.size / 1e6:.0f} MB", uploads.unwanted(image, named)]
        for image in there
    ]  # fmt: skip


def _named(file: str | None) -> set[str]:
    return {pool.wanted["image"] for pool in _pools(file)}


def _list_images(console: Console, file: str | None, *, as_json: bool) -> None:
    found, failed = _images(file)
    named = _named(file)
    if as_json:
        shown = [
            {**asdict(image), "where": cloud.where, "unwanted": uploads.unwanted(image, named)}
            for cloud, there in found
            for image in there
        ]
        console.data(shown)
    elif rows := [row for cloud, there in found for row in _rows(cloud, there, named)]:
        console.table(IMAGES, rows)
    elif not failed:
        console.say("there are no images of yours")
    _finish(failed)


def _sweep_images(console: Console, file: str | None, *, yes: bool) -> None:
    home = accounts.home(os.environ)
    with uploads.locked(home, "cncp cloud.sweep"):
        found, failed = _images(file)
        named = _named(file)
        doomed = [(cloud, [image for image in there if uploads.unwanted(image, named)]) for cloud, there in found]
        rows = [row for cloud, there in doomed for row in _rows(cloud, there, named)]
        if rows:
            console.table(IMAGES, rows)
            if not yes and not _sure(f"take away {plural(len(rows), 'image')}"):
                console.say("nothing was taken away")
                return
        elif not failed:
            console.say("there is nothing to sweep: every image of yours is wanted")
        for cloud, there in doomed:
            try:
                for image in there:
                    Clock().asked(lambda: cloud.drop(image))  # noqa: B023  # called within this turn
                    console.say(f"taken away: {image.id}")
                uploads.tidy(cloud, home, {OWNER: owner_tag(home)}, Clock(), console.say)
            except CncpError as error:
                failed[cloud.where] = error
    _finish(failed)


@command(
    {
        **CLUSTER_FILE,
        **JSON,
        **QUIET,
        "disk": f"a qcow2 or raw image, as vm.package makes one; {PACKAGED} in this folder without",
        "pool": "the pool of instances whose cloud it is for, as cncp status names it; the only one without",
    },
    takes="disk",
)
def image(
    context: Context,
    disk: str = "",
    pool: str = "",
    file: str | None = None,
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upload an image, once, whose instances need not install anything; it is private to your account there."""
    console, home, began = Console(quiet=quiet), accounts.home(os.environ), time.monotonic()
    chosen = _pool(pool, _pools(file))
    cloud = chosen.images(chosen.site)
    console.phase(f"reading {disk or PACKAGED}")
    read = cloud_disk.read(Path(disk or PACKAGED))
    wanted = asked(file)
    profile = sources.gather(file=wanted.file, environment=os.environ, flags={}, former=wanted.former).profile
    tags = {OWNER: owner_tag(home), uploads.PROFILE: profile, **({uploads.CODE: read.code} if read.code else {})}
    with uploads.locked(home, "cncp cloud.image"):
        console.phase(f"looking for it in {cloud.where}")
        made, new = uploads.bring(cloud, home, read, tags, Clock(), console.phase)
    if json:
        console.data({"id": made.id, "name": made.name, "where": cloud.where, "digest": read.digest, "uploaded": new})
        return
    took = f"uploaded, {read.size / 1e6:.0f} MB in {time.monotonic() - began:.0f} s" if new else "is there already"
    console.say(f"{made.id} in {cloud.where}: {took}")
    console.say(f'next, in {chosen.table.where}: image = "{made.id}"')


def _pool(named: str, there: Sequence[CloudPool]) -> CloudPool:
    """Return the pool of a name, "" for the only one. Raises UsageError."""
    names = [pool.name for pool in there]
    if not names:
        raise UsageError(
            "cluster.toml has no pool of instances", 'add one: [[pool]] with provider = "openstack", or ec2'
        )
    if not named and len(names) > 1:
        raise UsageError("there are several pools of instances", f"say which with --pool: {', '.join(names)}")
    found = next((pool for pool in there if named in ("", pool.name)), None)
    if found is None:
        raise UsageError(f"there is no pool of instances {named!r}", f"give --pool one of: {', '.join(names)}")
    return found


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


__all__ = ["fetch", "image", "listing", "save", "sweep", "tend"]
