"""The controller's machine lets others join: invitations made, listed and taken back, and members told to end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cncp.config.rendezvous_table import RendezvousTable
from cncp.console import Console
from cncp.errors import CncpError, UsageError, ours
from cncp.ipp import keys
from cncp.machine import connection_files, offering
from cncp.machine.node import Node
from cncp.machine.ops.apply import up
from cncp.ports import free_block, is_free, within
from cncp.rendezvous import owner, publishing
from cncp.rendezvous.documents import Seed, Want
from cncp.rendezvous.fetching import fetch
from cncp.rendezvous.owner import Place, Record
from cncp.waiting import wait_until

_DEFAULTS = {"poll": 60, "orphan": 900}
_PROOF = 15.0  # s for the service to have begun
_SERVED_POLL = 15
"""Seconds between looks of members at the controller's machine, which no object store charges for."""


@dataclass(frozen=True)
class Open:
    """An invitation that is still good; times are s since 1970."""

    batch: str
    made: float
    deadline: int
    engines: str
    note: str


def insist(node: Node) -> None:
    """Raise CncpError where nobody could join. Changes nothing."""
    offering.insist(node)
    if not connection_files.engine(node):
        raise CncpError("the cluster has no keys yet", "make them: cncp up")


def begin(node: Node, table: RendezvousTable, address: str = "") -> Record:
    """Return the record of the rendezvous, made where there is none, with its place as it is to be.

    An ``address`` that was said stays, for machines were told to come there, until another is, or "auto".
    """
    home = Path(node.home)
    with owner.held(home, "cncp invite"):
        known = owner.load(home)
        if table.store:
            return owner.begin(home, Place(table.store, table.options()), **{**_DEFAULTS, **table.times()})
        former = known.place if known else Place()
        said = (address or (former.address if former.named else "")).removeprefix("auto")
        port = former.port or _port(node)
        place = Place(address=said or offering.addresses(node)[0], port=port, named=bool(said))
        return owner.begin(home, place, **{**_DEFAULTS, "poll": _SERVED_POLL, **table.times()})


def _port(node: Node) -> int:
    """Return a free port, within the range that the controller's are in where that is set and has one to spare."""
    identity = keys.load(node.identity)
    taken = set(identity.ports.all if identity else ())
    chosen = () if node.settings.ports == "auto" else within(node.settings.ports)
    spare = next((port for port in chosen if port not in taken and is_free(port)), 0)
    return spare or free_block(1, avoid=taken)[0]


def invite(
    node: Node, table: RendezvousTable, settings: Mapping[str, object], lifetime: int, note: str, address: str = ""
) -> Seed:
    """Let machines join for ``lifetime`` s; the service that they follow is to be started then. Raises CncpError."""
    insist(node)
    publishing.check_lifetime(lifetime)
    record, home = begin(node, table, address), Path(node.home)
    return publishing.publish_join(
        offering.store(home, record),
        home,
        offering.offer(node),
        publishing.new_batch(),
        lifetime=lifetime,
        settings={"engines": "cores", **settings},
        note=note,
    )


def start(node: Node, console: Console) -> None:
    """Have the service run by which machines join; nothing else is touched."""
    up(replace(node, rendezvous="owner"), console, verb="invite")


def prove(seed: Seed) -> str:
    """Return why the document of a seed cannot be fetched from here, "" where it can, as whoever joins will do it."""
    answer = wait_until(lambda: fetch(seed.join), _PROOF, 0.2, lambda seen: seen.verdict == "found")
    return "" if answer.verdict == "found" else answer.why or answer.verdict


def invitations(home: Path) -> list[Open]:
    """Return the invitations that are still good, the oldest first."""
    record, now = owner.load(home), time.time()
    found = record.invitations.items() if record else ()
    return sorted(
        (
            Open(
                batch,
                invitation.made,
                invitation.deadline,
                str(invitation.settings.get("engines", "")),
                invitation.note,
            )
            for batch, invitation in found
            if invitation.deadline > now
        ),
        key=lambda invitation: invitation.made,
    )


def withdraw(home: Path, batch: str) -> list[str]:
    """Take an invitation back, or all of them; return which. Raises CncpError."""
    record = owner.load(home)
    names = list(record.invitations) if record else []
    chosen = names if batch == "all" else [name for name in names if batch and name.startswith(batch)]
    if record is None or (not chosen and batch != "all"):
        raise UsageError(f"there is no invitation {batch}", "see those there are: cncp invite --list")
    publishing.withdraw(offering.store(home, record), home, chosen)
    return chosen


def tell(node: Node, want: Want, console: Console) -> None:
    """Tell members what to do, where there may be any; what fails is said and in nobody's way."""
    home = Path(node.home)
    record = owner.load(home) if node.rendezvous == "owner" else None
    if record is None or record.want == want:
        return
    with _warned("machines that have joined were not told", console):
        publishing.publish_lease(offering.store(home, record), home, offering.offer(node), want=want)


@contextlib.contextmanager
def _warned(problem: str, console: Console) -> Iterator[None]:
    """Go on where a store fails, and say so."""
    try:
        yield
    except (CncpError, OSError) as error:
        console.warn(f"{problem}: {ours(error).message}")


def shut_out(node: Node, console: Console) -> None:
    """Have nobody who joined so far, or was invited, hear of new keys.

    What is left in a store that fails is sealed, and void with the keys that are made next: it is in nobody's way.
    """
    home = Path(node.home)
    record = owner.load(home) if node.rendezvous == "owner" else None
    if record is not None:
        console.phase("shutting out machines that joined by themselves; they need another invitation")
        left = publishing.renounce(home)
        with _warned("documents are left in the store", console):
            store = offering.store(home, record)
            for key in left:
                store.delete(key)


def forget(node: Node, console: Console) -> None:
    """Leave nothing in a store; what fails is said and in nobody's way."""
    home = Path(node.home)
    record = owner.load(home) if node.rendezvous == "owner" else None
    if record is None:
        return
    for place in record.former.values():
        with _warned(f"documents are left in {place.store}", console):
            publishing.clear(offering.store(home, replace(record, place=place)), record)
    with _warned("documents are left in the store", console):
        publishing.forget(offering.store(home, record), home)
