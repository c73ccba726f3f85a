"""What the owner of a rendezvous keeps in the folder ``rendezvous`` of CNCP_HOME: keys, serials, who is invited.

It outlives rotations of the cluster's own keys. One file, 0600, read and written under a lock: ``cncp invite``, what
makes instances, and the service that renews leases all change it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cncp import files, records
from cncp.rendezvous.documents import Want, new_key
from cncp.state_files import StateFile

FOLDER = "rendezvous"

LEASE = 86400
"""Seconds that a lease and its URL are good for; a third of it is the time between renewals."""

_PATIENCE = 60.0  # s for another of us to have written what it writes


@dataclass(frozen=True)
class Invitation:
    """Who may join: until when (``deadline``), since when, with which key, and which settings they are given.

    ``note`` is for people. ``serial`` is of the document that lies in the store.
    """

    key: str = field(repr=False)
    made: float
    deadline: int
    settings: Mapping[str, object]
    instance: bool = False
    note: str = ""
    serial: int = 0


@dataclass(frozen=True)
class Place:
    """Where documents lie: a store's URL and options, or "" for the controller's machine itself, at ``address``.

    ``named`` is whether somebody has said that address.
    """

    store: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    port: int = 0
    named: bool = False

    @property
    def spot(self) -> str:
        """What tells stores apart, whoever may get in."""
        options = sorted(f"{name} {value}" for name, value in self.options.items() if name != "credentials")
        return " ".join((self.store, *options))


@dataclass(frozen=True)
class Record(records.Record):
    """The whole of it. ``published`` says which content the lease has that lies there, ``expires`` until when.

    ``bundles`` are those in the store, by their SHA-256, and until when instances may fetch them; ``former`` the stores
    that documents lay in before, by what tells them apart.
    """

    cluster: str
    place: Place
    lease_key: str = field(repr=False)
    generation: int = 1
    serial: int = 0
    lease_serial: int = 0
    want: Want = "run"
    published: str = ""
    expires: int = 0
    renewed: int = 0
    poll: int = 60
    orphan: int = 900
    invitations: Mapping[str, Invitation] = field(default_factory=dict)
    bundles: Mapping[str, int] = field(default_factory=dict)
    former: Mapping[str, Place] = field(default_factory=dict)

    def with_invitation(self, batch: str, invitation: Invitation | None) -> Record:
        """Return it with an invitation, or without the one of a batch."""
        others = {name: known for name, known in self.invitations.items() if name != batch}
        return replace(self, invitations={**others, **({batch: invitation} if invitation else {})})


def folder(home: Path) -> Path:
    """Return where it is."""
    return home / FOLDER


STORE = StateFile(
    f"{FOLDER}/owner.json",
    Record,
    "rm -r {folder}, then invite anew: machines that have joined need a new invitation too",
    "what machines join by",
)


def path(home: Path) -> Path:
    """Return the file of the record."""
    return STORE.path(home)


def load(home: Path) -> Record | None:
    """Return the record, None where nobody was invited yet. Raises CncpError where it is damaged."""
    return STORE.load(home)


@contextlib.contextmanager
def held(home: Path, operation: str) -> Iterator[None]:
    """Keep others of us away from the record."""
    folder(home).mkdir(mode=0o700, exist_ok=True)
    with files.lock(folder(home) / "lock", operation, _PATIENCE):
        yield


def begin(home: Path, place: Place, **values: Any) -> Record:
    """Return the record, made where there is none, with its place as it is to be. Call it while `held`."""
    found = load(home) or Record(cluster=os.urandom(8).hex(), place=place, lease_key=new_key())
    changed = replace(found, place=place, **values)
    if changed.place != found.place:
        # What lies at the former place is followed by nobody who joins from now on.
        changed = replace(changed, published="", renewed=0)
    if place.spot != found.place.spot:
        known = {**found.former, **({found.place.spot: found.place} if found.place.store else {})}
        former = {spot: left for spot, left in known.items() if spot != place.spot}
        changed = replace(changed, bundles={}, former=former)
    return save(home, changed)


def save(home: Path, record: Record) -> Record:
    """Write the record. Call it while `held`."""
    STORE.save(home, record)
    return record
