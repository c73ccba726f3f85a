"""Who has joined: what a member keeps, and what it makes of each look at its lease.

    joined -> held -> (moved) -> lost, and back; drained and stopped are what the lease asks for

A member has GETs alone. It follows the highest serial it has seen, and takes no document that is not sealed by the
key of its generation. It is lost when there was no lease and no answer of the controller for as long as its cluster
has said; then it ends its engines, and goes on asking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cncp.records import Record
from cncp.rendezvous.documents import Access, Body, Refused, Want
from cncp.state_files import StateFile

if TYPE_CHECKING:
    # What opens connections takes a while to import, and most verbs only look who has joined.
    from cncp.rendezvous.fetching import Answer

State = Literal["joined", "held", "moved", "drained", "stopped", "lost"]

PARKED = ("drained", "stopped", "lost")
"""States in which no engine is to compute."""


@dataclass(frozen=True)
class Membership(Record):
    """What a member knows of its cluster; times are s since 1970.

    ``serial`` is the highest of a lease that was seen, ``joined`` that of the join, ``heard`` when the lease or the
    controller was there last, ``not_after`` when the lease that is known ends. ``why`` says in words why it is in its
    state.
    """

    cluster: str
    profile: str
    fingerprint: str
    serial: int
    joined: int
    access: Access
    heard: int
    not_after: int
    instance: bool = False
    state: State = "joined"
    why: str = ""
    etag: str = ""

    @property
    def parked(self) -> bool:
        """Whether no engine is to compute."""
        return self.state in PARKED

    def followed(self, body: Body, now: float, etag: str = "") -> Membership:
        """Return it after a lease, or a join, that was opened and is to be used."""
        states: dict[Want, State] = {"run": "held", "drain": "drained", "stop": "stopped"}
        moved = body.want == "run" and body.content.fingerprint != self.fingerprint
        return replace(
            self,
            serial=body.serial,
            access=body.lease,
            heard=int(now),
            not_after=body.not_after,
            fingerprint=body.content.fingerprint,
            state="moved" if moved else states[body.want],
            why="" if body.want == "run" else "as the controller's machine says",
            etag=etag,
        )


def of_join(body: Body, now: float, known: Membership | None, *, instance: bool) -> Membership:
    """Return what a machine knows that joins, or joins again: no older lease is taken than it has ``known``."""
    return Membership(
        cluster=body.cluster,
        profile=body.content.profile,
        fingerprint=body.content.fingerprint,
        serial=max(body.lease.serial, known.serial if known else 0),
        joined=body.serial,
        access=body.lease,
        heard=int(now),
        not_after=body.not_after,
        instance=instance,
    )


@dataclass(frozen=True)
class Look:
    """What comes of a look: what is known from then on, a lease that is to be taken over, and what to write to the log.

    ``body`` is what is new.
    """

    membership: Membership
    body: Body | None = None
    said: str = ""


def look(
    known: Membership,
    answer: Answer,
    read: Callable[[bytes], Body],
    alive: Callable[[], bool],
    now: float,
) -> Look:
    """Return what one answer of the store means.

    ``read`` opens a lease, and raises Refused; ``alive`` asks the controller itself, where the store does not help.
    """
    if answer.verdict == "unchanged" and now <= known.not_after:
        return Look(_heard(known, now, known.etag))
    if answer.verdict != "found":
        return _silence(known, f"no lease: {answer.why or answer.verdict}", alive, now)
    try:
        body = read(answer.body)
    except Refused as refused:
        return _silence(known, f"refused: {refused.message}", alive, now)
    if body.serial == known.serial and known.state != "joined":
        return Look(_heard(known, now, answer.etag))
    after = known.followed(body, now, answer.etag)
    return Look(after, body, f"lease {body.serial}: {after.state}")


def _silence(known: Membership, said: str, alive: Callable[[], bool], now: float) -> Look:
    """Return what it means that there was no lease to follow."""
    silent = now - known.heard
    if silent <= min(known.access.orphan, 3 * known.access.poll):
        return Look(known, said=said)
    if alive():
        return Look(_heard(known, now, known.etag), said=said)
    if silent <= known.access.orphan or known.state in PARKED:
        return Look(known, said=said)
    why = f"no lease and no controller for {known.access.orphan} s"
    return Look(replace(known, state="lost", why=why), said=f"lost: {why}; {said}")


def _heard(known: Membership, now: float, etag: str) -> Membership:
    """Return it after a sign of life: who was lost is found again."""
    state = "held" if known.state in ("lost", "joined", "moved") else known.state
    why = known.why if state == known.state else ""
    return replace(known, heard=int(now), etag=etag, state=state, why=why)


# It holds the lease's key.
STORE = StateFile(
    "member.json",
    Membership,
    "join again: ask for a line, cncp invite on the controller's machine",
    "by which this machine is a member",
)


def path(home: Path) -> Path:
    """Return the file that makes a machine a member."""
    return STORE.path(home)


def load(home: Path) -> Membership | None:
    """Return what is known here, None on a machine that has not joined. Raises CncpError where it is damaged."""
    return STORE.load(home)


def save(home: Path, membership: Membership) -> None:
    """Keep what is known."""
    STORE.save(home, membership)


def role(home: Path) -> Literal["", "owner", "member"]:
    """Return what the rendezvous service of a home is for, "" where there is to be none."""
    if path(home).is_file():
        return "member"
    return "owner" if (home / "rendezvous" / "owner.json").is_file() else ""
