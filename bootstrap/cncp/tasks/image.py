"""image.*: what netbooted nodes run, made, listed, checked and taken away on their server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from invoke.context import Context

from cncp.config.hostlist import fold
from cncp.console import Console
from cncp.errors import CncpError, UsageError, duration, plural
from cncp.install import bundle_reader
from cncp.netboot.cidd import Place
from cncp.netboot.image_name import checked
from cncp.netboot.image_store import Blob, Manifest
from cncp.netboot.mkimg import darwin, exclude_lists, image_making, tree_sources
from cncp.netboot.node_db import nodes_in
from cncp.netboot.service.server_paths import Paths
from cncp.ssh.connection import Remote
from cncp.tasks import options
from cncp.tasks.options import HOST_KEYS, JSON, QUIET
from cncp.tasks.task import command

FOLDER = str(Paths().folder)
_FOLDER = {"folder": f"where cidd keeps what it knows; {FOLDER} without"}
_HEADER = ["IMAGE", "PACKED AS", "SIZE", "SHARED", "MADE", "NODES"]


@command(
    {
        "name": "NAME-VERSION-SUBVERSION, such as compute-1-0",
        "tree": "make it from the tree in a folder",
        "host": "make it from a node that runs, as root or by sudo; its secrets and people's files stay there",
        **HOST_KEYS,
        "packages": "add these to Debian's packages, of which it is made without --tree and --host: slurmd,numactl",
        "suite": "Debian's, such as bookworm; this machine's without",
        "mirror": "where the packages come from; where this machine gets its own without",
        "bundle": "have engines: what cncp bundle.make --engines-only has written, for the image's Python",
        "system": "linux, or darwin: a tree of that is packed and kept, and cannot be booted here",
        "format": "tar.zst, unpacked on a node's disk, or squashfs, mounted there under an overlay",
        "exclude": "a file with what is left out, a path a line, in place of the usual list",
        **_FOLDER,
        **QUIET,
    },
    takes="name",
)
def make(
    context: Context,
    name: str = "",
    tree: str = "",
    host: str = "",
    host_keys: str = "accept-new",
    packages: str = "",
    suite: str = "",
    mirror: str = "",
    bundle: str = "",
    system: str = "linux",
    format: str = "tar.zst",
    exclude: str = "",
    folder: str = FOLDER,
    quiet: bool = False,
) -> None:
    """Make an image of packages, of a tree or of a node that runs: packed, signed, with cidkid in it."""
    console = Console(quiet=quiet)
    if sum(map(bool, (tree, host, packages or suite or mirror))) > 1:
        raise UsageError(
            "an image is made of packages, of a tree or of a node", "give one of --tree, --host, --packages"
        )
    if format not in ("tar.zst", "squashfs"):
        raise UsageError(f"--format {format!r} is not possible", "it is tar.zst or squashfs")
    if system not in ("linux", "darwin") or (system == "darwin" and (not tree or bundle)):
        raise UsageError(f"--system {system!r} is not possible here", "it is linux, or darwin with --tree alone")
    checked(name)
    place = _place(folder)
    source: tree_sources.Source
    if tree:
        source = tree_sources.Folder(Path(tree), place.folder)
    elif host:
        [spec, *others] = options.remote_hosts(host, "")
        if others:
            raise UsageError(f"--host {host} is {plural(len(others) + 1, 'host')}", "an image is made of one")
        source = tree_sources.Node(Remote(spec, strict=options.is_strict(host_keys)))
    else:
        names = [*packages.replace(",", " ").split(), *(["python3-venv"] if bundle else [])]
        source = tree_sources.Packages(suite, tuple(names), mirror)
    usual = darwin.EXCLUDED if system == "darwin" else source.usual
    excluded = exclude_lists.read(Path(exclude)) if exclude else exclude_lists.patterns(usual, "the usual list")
    recipe = image_making.Recipe(
        source,
        "squashfs" if format == "squashfs" else "tar.zst",
        excluded,
        bundle_reader.read(Path(bundle)).path if bundle else None,
        "darwin" if system == "darwin" else "linux",
    )
    made = image_making.make(name, recipe, place, console.phase)
    console.say(f"{name}: {_mb(_bytes(made.blobs))}, in {duration(console.elapsed())}")
    if made.system == "linux":
        console.say(f"next: cidcapt -j 1 -n NODES -i {name}")
    else:
        console.say("it is kept here; nothing here can boot it")


@command({**_FOLDER, **JSON}, name="list")
def listing(context: Context, folder: str = FOLDER, json: bool = False) -> None:
    """Show the images, what each shares with others, and which nodes run or want it."""
    console, place = Console(), _place(folder)
    images = place.images() if place.folder.is_dir() else None
    there = [images.read(name) for name in images.names()] if images else []
    users = _users(place)
    if json:
        console.data([_document(manifest, there, users) for manifest in there])
    elif there:
        console.table(_HEADER, [_row(manifest, there, users) for manifest in there])
    else:
        console.say("there are no images yet; make one: cncp image.make compute-1-0")


@command({"name": "the image", **_FOLDER}, takes="name")
def remove(context: Context, name: str = "", folder: str = FOLDER) -> None:
    """Take an image away that no node runs or is to run, with those of its parts that no other image has."""
    place = _place(folder)
    _insist_on_folder(place)
    with image_making.alone(place.folder, f"cncp image.remove {checked(name)}"):
        nodes = _users(place).get(name, [])
        if nodes:
            raise UsageError(
                f"{name} is what {', '.join(fold(nodes))} {'run' if len(nodes) > 1 else 'runs'} or will run",
                "put them into another image first, by cidcapt; what is gone for good: cncp node.forget NODE",
            )
        freed = place.images().remove(name)
    Console().say(f"{name} is gone, and {_mb(freed)} with it")


@command({"name": "the image; all without", **_FOLDER}, takes="name")
def check(context: Context, name: str = "", folder: str = FOLDER) -> None:
    """Read images whole, and hold them against their signatures."""
    console, place = Console(), _place(folder)
    _insist_on_folder(place)
    images, damaged = place.images(), dict[str, CncpError]()
    for known in [name] if name else images.names():
        try:
            images.check(known)
        except CncpError as error:
            damaged[known] = error
            console.say(f"{known}: {error.message}")
        else:
            console.say(f"{known}: as it was signed")
    if damaged:
        raise next(iter(damaged.values()))


def _place(folder: str) -> Place:
    """Return cidd's folder. Raises CncpError for who is not root."""
    # Files in an image belong to root, and what signs it is root's alone.
    if os.geteuid() != 0:
        raise CncpError("only root looks after images, whose files are root's", "run it by sudo, on the nodes' server")
    return Place(Path(folder).absolute())


def _insist_on_folder(place: Place) -> None:
    if not place.folder.is_dir():
        raise UsageError("there are no images on this machine", "see whether it is the nodes' server")


def _users(place: Place) -> Mapping[str, list[str]]:
    """Return the nodes that run an image or are to run it, by image."""
    found: dict[str, list[str]] = {}
    for node in nodes_in(place.database):
        for image in {node.image, node.wanted} - {""}:
            found.setdefault(image, []).append(node.name)
    return found


def _bytes(blobs: Iterable[Blob]) -> int:
    return sum(blob.size for blob in blobs)


def _shared(manifest: Manifest, there: Iterable[Manifest]) -> int:
    """Return how many bytes of an image others have as well."""
    others = {blob for other in there if other.name != manifest.name for blob in other.blobs}
    return _bytes(others.intersection(manifest.blobs))


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _row(manifest: Manifest, there: Iterable[Manifest], users: Mapping[str, list[str]]) -> list[str]:
    sizes = [_mb(_bytes(manifest.blobs)), _mb(_shared(manifest, there))]
    nodes = ", ".join(fold(users.get(manifest.name, [])))
    return [manifest.name, manifest.root, *sizes, f"{duration(time.time() - manifest.made)} ago", nodes]


def _document(manifest: Manifest, there: Iterable[Manifest], users: Mapping[str, list[str]]) -> dict[str, object]:
    return {
        **manifest.to_json(),
        "size": _bytes(manifest.blobs), "shared": _shared(manifest, there), "nodes": users.get(manifest.name, []),
    }  # fmt: skip


__all__ = ["check", "listing", "make", "remove"]
