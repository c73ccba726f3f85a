"""The owner's journal of a cluster's instances: written before every call, so that none is made and forgotten.

``CNCP_HOME/cloud/CLUSTER.json``. A batch is a call that makes instances, and goes from PLANNED to REQUESTED once the
cloud has named them, RUNNING, JOINED, and CLOSED when all of them are gone. Whatever ends a command, the next one
finds here what may be out there, and where: the region is that of the batch, whatever the file says by then.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cncp import files
from cncp.errors import CncpError
from cncp.records import Record
from cncp.state_files import StateFile

Stage = Literal["PLANNED", "REQUESTED", "RUNNING", "JOINED", "CLOSED"]


@dataclass(frozen=True)
class Batch:
    """Instances of one call: of which pool, where, and how far they are.

    ``site`` is what is needed to reach the cloud again: provider, cloud, region. ``planned`` and ``deadline`` are in s
    since the epoch. ``joined`` counts instances whose engines have answered; ``cause`` says why it is closed early;
    ``made_of`` is what of the table they have for good.
    """

    id: str
    pool: str
    site: Mapping[str, str]
    count: int
    planned: float
    deadline: float
    zone: str = ""
    spot: bool = False
    stage: Stage = "PLANNED"
    ids: tuple[str, ...] = ()
    joined: int = 0
    cause: str = ""
    made_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether something of it may be out there."""
        return self.stage != "CLOSED"


@dataclass(frozen=True)
class _Content(Record):
    cluster: str
    owner: str
    batches: tuple[Batch, ...] = ()
    short: Mapping[str, str] = field(default_factory=dict)
    sites: tuple[Mapping[str, str], ...] = ()


# A damaged one is not to be begun anew: what it named would run on unseen.
_REMEDY = "see what of yours runs in clouds: cncp cloud.list; then put the file right, or away with cncp cloud.sweep"


def store(cluster: str) -> StateFile[_Content]:
    """Return where the journal of a cluster is, in a home."""
    return StateFile(f"cloud/{cluster}.json", _Content, _REMEDY, "the journal of a cluster's instances")


class Journal:
    """The journal of one cluster; each change is on the disk when a method returns."""

    def __init__(self, home: Path, content: _Content) -> None:
        self._home = home
        self._content = content

    @classmethod
    def of(cls, home: Path, cluster: str, owner: str) -> Journal:
        """Read the journal of a cluster, empty where there is none. Raises CncpError on one that is damaged."""
        content = store(cluster).load(home) or _Content(cluster, owner)
        if content.cluster != cluster:
            raise CncpError(f"{store(cluster).path(home)} is the journal of {content.cluster[:16]}", _REMEDY)
        return cls(home, content)

    @property
    def cluster(self) -> str:
        """The cluster's id."""
        return self._content.cluster

    @property
    def owner(self) -> str:
        """Whose instances they are, as their tags say."""
        return self._content.owner

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All batches that are kept, the oldest first."""
        return self._content.batches

    def open(self, pool: str = "") -> list[Batch]:
        """Return batches of which something may be out there, of one pool or all."""
        return [batch for batch in self.batches if batch.open and pool in ("", batch.pool)]

    def batch(self, name: str) -> Batch:
        """Return a batch that is kept."""
        return next(batch for batch in self.batches if batch.id == name)

    def note(self, batch: Batch) -> Batch:
        """Write a batch down, in the place of what was known of it."""
        others = tuple(known for known in self.batches if known.id != batch.id)
        kept = tuple(known for known in others if known.open or known.planned > batch.planned - _KEPT)
        sites = self.sites if batch.site in self.sites or not batch.open else (*self.sites, batch.site)
        self._save(replace(self._content, batches=(*kept, batch), sites=sites))
        return batch

    def short(self, pool: str) -> str:
        """Return why a pool has fewer instances than are wanted, "" where it has all."""
        return self._content.short.get(pool, "")

    def note_short(self, pool: str, cause: str) -> None:
        """Write down why a pool has fewer instances than are wanted; "" once it has all."""
        if self.short(pool) != cause:
            self._save(replace(self._content, short={**self._content.short, pool: cause}))

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all instances that may be out there."""
        return frozenset(name for batch in self.open() for name in batch.ids)

    def without(self, gone: Collection[str]) -> None:
        """Take instances out of their batches; one that has none left is closed."""
        for batch in self.open():
            left = tuple(name for name in batch.ids if name not in gone)
            if left != batch.ids:
                self.note(replace(batch, ids=left) if left else replace(batch, stage="CLOSED"))

    @property
    def sites(self) -> tuple[Mapping[str, str], ...]:
        """Where something may be left, if only what was made besides instances."""
        return self._content.sites

    def note_left(self, site: Mapping[str, str]) -> None:
        """Write down that nothing is left in a place."""
        self._save(replace(self._content, sites=tuple(known for known in self.sites if known != site)))

    def forget(self) -> None:
        """Take the journal away, once nothing is out there."""
        store(self.cluster).save(self._home, None)

    def _save(self, content: _Content) -> None:
        # The folder has secrets' rights: who can write here can have instances of ours forgotten.
        file = store(self.cluster)
        file.path(self._home).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.save(self._home, content)
        self._content = content


_KEPT = 7 * 86400.0  # s that a closed batch stays, for who wonders what there was


def clusters(home: Path) -> list[str]:
    """Return the ids of all clusters of which there is a journal."""
    names = sorted(path.stem for path in (home / "cloud").glob("*.json"))
    return [name for name in names if re.fullmatch(r"[0-9a-f]{16}", name)]


@contextlib.contextmanager
def locked(home: Path, operation: str) -> Iterator[None]:
    """Keep other commands from making and ending instances meanwhile."""
    folder = home / "cloud"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.lock(folder / "lock", operation):
        yield
