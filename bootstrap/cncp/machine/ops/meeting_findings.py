"""What can be wrong where machines join by themselves, on either side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cncp.errors import CncpError
from cncp.machine.node import Node
from cncp.rendezvous import member_record, owner
from cncp.rendezvous.owner import LEASE

_LATE = LEASE / 2
"""Seconds after which a lease should long have been renewed."""


def findings(node: Node) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with leases, and what to do about it."""
    try:
        yield from _of_member(node) if node.rendezvous == "member" else _of_owner(node)
    except CncpError as error:
        yield error.message, error.hint


def _of_member(node: Node) -> Iterator[tuple[str, str]]:
    known = member_record.load(Path(node.home))
    if known is not None and known.state == "lost":
        yield (
            f"this machine has lost its cluster {known.cluster}: {known.why}",
            "is its controller's machine up? If it is for good elsewhere, join again: cncp invite there",
        )
    elif known is not None and known.parked:
        yield f"the engines wait: {known.why}", "on the controller's machine: cncp up"


def _of_owner(node: Node) -> Iterator[tuple[str, str]]:
    record = owner.load(Path(node.home)) if node.rendezvous == "owner" else None
    if record is None or record.want != "run":
        return
    if time.time() > record.renewed + _LATE:
        where = record.place.store or "this machine"
        yield (
            f"machines that have joined hear nothing new: no lease could be written to {where}",
            "the reason is in: cncp logs rendezvous",
        )
