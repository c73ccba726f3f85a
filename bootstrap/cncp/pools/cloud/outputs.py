"""Results kept in the cluster's store, each folder an archive: they outlive instances, and the cluster.

They lie beside what machines join by, not below it: an uninstall leaves them.
"""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from pathlib import Path

from cncp.config.rendezvous_table import RendezvousTable
from cncp.errors import CncpError, UsageError
from cncp.rendezvous import owner
from cncp.rendezvous.places import opened
from cncp.rendezvous.store import ROOT, Exists, Store
from cncp.ssh import transfer

LARGEST = 2 * 2**30
"""Bytes of an archive: it is held in memory, and one PUT takes 5 GB at most (S3)."""


def folder(text: str) -> Path:
    """Return the folder that is named. Raises UsageError."""
    path = Path(text).expanduser().absolute()
    if not text or not path.is_dir():
        raise UsageError(f"command line: {text or 'nothing'} is no folder", "for instance: cncp cloud.save results/")
    return path


def named(path: Path) -> str:
    """Return what a folder is called in the store."""
    return re.sub(r"[^a-z0-9]+", "-", path.name.lower()).strip("-")


def checked(name: str) -> str:
    """Return a name that can be one in a store. Raises UsageError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name):
        raise UsageError(f"command line: the name {name!r} is not possible", "give small letters, digits and -")
    return name


def store(home: Path, table: RendezvousTable) -> Store:
    """Return the store of the cluster: that of the file, or the one that is in use. Raises UsageError."""
    record = owner.load(home)
    url, options = table.store, table.options()
    if not url and record is not None:
        url, options = record.place.store, dict(record.place.options)
    if not url:
        raise UsageError(
            "this cluster has no store", 'add [rendezvous] with store = "s3://BUCKET/PREFIX" to cluster.toml'
        )
    return opened(url, options)


def save(store: Store, name: str, path: Path, *, force: bool) -> int:
    """Put a folder into the store; return how many bytes that was. Raises CncpError."""
    with transfer.packed(path) as archive:
        size = archive.stat().st_size
        if size > LARGEST:
            raise UsageError(f"{path} has {size / 1e9:.1f} GB packed", f"save parts of {LARGEST / 1e9:.0f} GB at most")
        content = archive.read_bytes()
    if force:
        store.put(_key(name), content)
        return size
    try:
        store.create(_key(name), content)
    except Exists:
        raise UsageError(f"{name} is saved already", "give it another --name, or replace it with --force") from None
    return size


def names(store: Store) -> list[str]:
    """Return what was saved."""
    prefix = f"{ROOT}/outputs/"
    return [key.removeprefix(prefix).removesuffix(".tar") for key in store.keys(prefix)]


def fetch(store: Store, name: str, place: Path) -> Path:
    """Bring back what was saved, into a folder of this name in ``place``; return that. Raises CncpError."""
    made = place / name
    if made.exists():
        raise UsageError(f"{made} exists", "name another --output")
    if not place.is_dir():
        raise UsageError(f"{place} is no folder", "make it, or name another --output")
    content = store.get(_key(name))
    if content is None:
        raise UsageError(f"nothing was saved as {name}", "see what was: cncp cloud.fetch")
    with tempfile.TemporaryDirectory(dir=place, prefix=f".{name}.") as scratch:
        beside = Path(scratch)
        try:
            transfer.unpack(io.BytesIO(content), beside)
            (beside / "it").rename(made)
        except (OSError, EOFError, tarfile.TarError) as error:
            raise CncpError(f"{name} in the store cannot be unpacked: {error}", "save it again") from None
    return made


def _key(name: str) -> str:
    return f"{ROOT}/outputs/{name}.tar"
