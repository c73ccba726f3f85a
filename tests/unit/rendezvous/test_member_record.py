"""Who has joined: held, moved, drained, stopped, lost and found, by what a store and a controller answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.rendezvous import member_record
from cncp.rendezvous.documents import Access, Body, Cluster, Want, expired, new_key
from cncp.rendezvous.fetching import Answer
from cncp.rendezvous.member_record import Membership, look

from .cluster import NOW, OFFER, rotated

ACCESS = Access(url="https://x/lease", key=new_key(), generation=1, serial=4, expires=int(NOW) + 86400)


def body(serial: int = 5, want: Want = "run", offer: Cluster = OFFER) -> Body:
    """Return a lease."""
    return Body("a" * 16, serial, int(NOW), int(NOW) + 86400, offer, replace(ACCESS, serial=serial), want)


KNOWN = member_record.of_join(body(), NOW, None, instance=False)
HELD = replace(KNOWN, state="held")

FOUND = Answer("found", body=b"x", etag='"1"')
SILENT = Answer("not yet", "HTTP 404")


def seen(
    known: Membership,
    answer: Answer,
    lease: Body | None = None,
    *,
    after: float = 0.0,
    alive: Callable[[], bool] = lambda: False,
) -> member_record.Look:
    """Look ``after`` s at an answer, in which there is a lease or one that is refused."""

    def read(_: bytes) -> Body:
        if lease is None:
            raise expired("the lease document", 60)
        return lease

    return look(known, answer, read, alive, NOW + after)


def test_a_lease_is_held() -> None:
    """The first is taken over, also where it says nothing new: keys may have come between join and lease."""
    first = seen(KNOWN, FOUND, body())
    assert (first.membership.state, first.body) == ("held", body())
    again = seen(first.membership, FOUND, body())
    assert again.body is None
    assert seen(first.membership, Answer("unchanged"), after=100).membership.heard == int(NOW) + 100


@pytest.mark.parametrize(("want", "state"), [("run", "held"), ("drain", "drained"), ("stop", "stopped")])
def test_what_is_wanted(want: Want, state: str) -> None:
    """Is what the member is in, and engines compute in one of them only."""
    after = seen(HELD, FOUND, body(6, want)).membership
    assert after.state == state
    assert after.parked == (want != "run")
    assert seen(after, FOUND, body(7)).membership.state == "held"


def test_new_keys() -> None:
    """Are a move, with the lease that has them."""
    found = seen(HELD, FOUND, body(6, offer=rotated()))
    assert found.membership.state == "moved"
    assert found.body is not None
    assert found.membership.fingerprint == rotated().fingerprint
    assert seen(found.membership, Answer("unchanged"), after=60).membership.state == "held"


def test_a_store_that_is_gone_for_a_while() -> None:
    """Changes nothing: neither while it is short, nor as long as the controller answers."""
    short = seen(HELD, SILENT, after=100)
    assert short.membership == HELD
    long = seen(HELD, SILENT, after=10_000, alive=lambda: True)
    assert long.membership.state == "held"
    assert long.membership.heard == int(NOW) + 10_000
    assert seen(HELD, SILENT, after=600).membership.state == "held"


def test_lost_and_found() -> None:
    """Neither lease nor controller for as long as the cluster has said; any of them ends it."""
    lost = seen(HELD, SILENT, after=901).membership
    assert lost.state == "lost"
    assert lost.parked
    assert "no lease and no controller for 900 s" in lost.why
    assert seen(lost, SILENT, after=2000).membership == lost
    assert seen(lost, SILENT, after=2000, alive=lambda: True).membership.state == "held"
    assert seen(lost, FOUND, body(6), after=2000).membership.state == "held"


def test_who_is_stopped_is_not_lost() -> None:
    """The cluster has said why it is silent."""
    stopped = seen(HELD, FOUND, body(6, "stop")).membership
    assert seen(stopped, SILENT, after=10_000).membership.state == "stopped"


def test_what_is_refused_is_not_a_sign_of_life() -> None:
    """Whoever puts old or foreign documents there holds nobody's engines."""
    assert seen(HELD, FOUND, after=100).membership == HELD
    assert seen(HELD, FOUND, after=901).membership.state == "lost"
    assert "refused" in seen(HELD, FOUND, after=100).said


def test_an_old_lease_that_nobody_renews() -> None:
    """Is none once its time is over, however often it is still there unchanged."""
    assert seen(HELD, Answer("unchanged"), after=86401).membership.state == "lost"


def test_joining_again_forgets_no_serial() -> None:
    """A document from before is refused after that, too."""
    known = seen(HELD, FOUND, body(9)).membership
    again = member_record.of_join(body(7), NOW, known, instance=False)
    assert again.serial == 9


@pytest.mark.parametrize("content", ["", "[]", '{"cluster": "x"}', "{"])
def test_a_damaged_record(tmp_path: Path, content: str) -> None:
    """Is said to be, with what to do; without one there is no member."""
    assert member_record.load(tmp_path) is None
    assert member_record.role(tmp_path) == ""
    member_record.save(tmp_path, KNOWN)
    assert member_record.load(tmp_path) == KNOWN
    assert member_record.role(tmp_path) == "member"
    assert member_record.path(tmp_path).stat().st_mode & 0o777 == 0o600
    member_record.path(tmp_path).write_text(content)
    with pytest.raises(CncpError, match="is damaged"):
        member_record.load(tmp_path)
