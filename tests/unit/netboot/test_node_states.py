"""Every pair of states: what a node may say, when, and what becomes of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import get_args

import pytest

from cncp.errors import CncpError
from cncp.netboot import node_states
from cncp.netboot.node_states import LIFE, MOST_TRIES, REPEATED, UNDER_WAY, Node, OutOfTurnError, State
from cncp.records import Misfit

STATES: tuple[State, ...] = get_args(State)
OLD, NEW = "compute-1-0", "compute-1-1"


def node(state: State = "alive", **members: object) -> Node:
    """Return a node on its way to NEW that ran OLD; heard of at 100 s."""
    known = {"image": OLD, "wanted": NEW, "job": "7", "slots": (OLD,), "since": 100.0, "heard": 100.0}
    return Node(name="n1", mac="52:54:00:00:00:01", uuid=UUID, state=state, **{**known, **members})  # type: ignore[arg-type]


UUID = "00000000-0000-0000-0000-000000000001"


def test_every_state_has_its_place() -> None:
    """None is forgotten, and each that passes ends one day: it has a patience."""
    assert set(LIFE) == set(STATES)
    assert {state for state in STATES if LIFE[state].patience is not None} == UNDER_WAY


@pytest.mark.parametrize(("before", "said"), list(itertools.product(STATES, STATES)))
def test_what_a_node_may_say(before: State, said: State) -> None:
    """What follows is taken; out of turn nothing changes; a failure of a node on its way begins it anew."""
    known = node(before)
    if said == "failed" and before in UNDER_WAY:
        after = node_states.reported(known, said, 200.0, reason="the disk is too small")
        assert (after.state, after.tries, after.reason) == ("rebooting", 1, "the disk is too small")
    elif said in LIFE[before].next or (said == before and said in REPEATED):
        after = node_states.reported(known, said, 200.0, image=NEW if said == "alive" else "")
        assert after.heard == 200.0
        assert after.state == ("alive" if said == "alive" and before == "draining" else said) or before == "draining"
    else:
        with pytest.raises(OutOfTurnError):
            node_states.reported(known, said, 200.0, image=NEW)


def test_from_its_first_question_to_its_image() -> None:
    """One that is accepted and wanted comes by the network; its disk holds the image from then on."""
    known = node_states.accepted(node("unknown", image="", wanted="", job="", slots=()), 1)
    known = node_states.sent_to(known, NEW, "7", 2)
    assert (known.state, known.by_network, known.is_there) == ("rebooting", True, False)
    steps: tuple[State, ...] = ("blancmange", "partition", "queued", "fetch", "fetch", "verify", "unpack", "boot")
    for number, state in enumerate(steps, 3):
        known = node_states.reported(known, state, number)
    known = node_states.reported(known, "alive", 20, image=NEW)
    assert known.is_there
    assert known.slots == (NEW,)
    assert node_states.sent_to(known, NEW, "8", 21).state == "alive"


def test_what_is_on_the_disk_is_not_fetched() -> None:
    """It drains, leaves, and comes back in the other image."""
    known = node_states.sent_to(node("alive", slots=(OLD, NEW), wanted=OLD), NEW, "8", 1)
    assert known.state == "draining"
    known = node_states.reported(known, "alive", 2, image=OLD)
    assert known.state == "draining", "an agent that was started again changes nothing"
    known = node_states.reported(known, "rebooting", 3)
    assert not known.by_network
    assert node_states.reported(known, "alive", 4, image=NEW).is_there


def test_back_in_the_image_of_before() -> None:
    """The slot did not do: the image is fetched anew. In the end it has failed, with the reason."""
    known = node("rebooting", slots=(OLD, NEW))
    for tries in range(1, MOST_TRIES + 1):
        known = node_states.reported(replace(known, state="rebooting"), "alive", tries, image=OLD)
        assert known.tries == tries
        assert known.by_network
    assert known.state == "failed"
    assert known.reason == f"it came back in {OLD}"


@pytest.mark.parametrize("state", sorted(UNDER_WAY))
def test_silence_ends(state: State) -> None:
    """It is begun anew after its patience, not before, and has failed after so many tries."""
    patience = LIFE[state].patience
    assert patience is not None
    known = node(state)
    assert node_states.looked_at(known, 100 + patience) == known
    for tries in range(1, MOST_TRIES + 1):
        known = node_states.looked_at(replace(known, state=state), known.heard + patience + 0.1)
        assert known.tries == tries
    assert known.state == "failed"
    assert state in known.reason


@pytest.mark.parametrize("state", [state for state in STATES if state not in UNDER_WAY])
def test_what_rests_is_left_alone(state: State) -> None:
    """For however long."""
    assert node_states.looked_at(node(state), 1e9) == node(state)


@pytest.mark.parametrize("state", STATES)
def test_another_job(state: State) -> None:
    """It gets a node that rests, and no other."""
    if state in (*UNDER_WAY, "unknown"):
        with pytest.raises(CncpError, match=r"on its way|unknown"):
            node_states.sent_to(node(state), OLD, "8", 200)
    else:
        assert node_states.sent_to(node(state), "other-1-0", "8", 200).job == "8"


def test_a_job_that_lets_go() -> None:
    """What drains stays as it was; what has left arrives, for nobody."""
    kept = node_states.released(node("draining"), "7", 200)
    assert (kept.state, kept.wanted, kept.job) == ("alive", OLD, "")
    gone = node_states.released(node("fetch"), "7", 200)
    assert (gone.state, gone.wanted, gone.job) == ("fetch", NEW, "")
    assert node_states.released(node("fetch"), "8", 200) == node("fetch")


@pytest.mark.parametrize(
    ("packed", "used", "job", "state"),
    [
        (True, "7", "8", "draining"),
        (True, "7", "7", "alive"),
        (True, "7", "7~1", "alive"),
        (True, "7~1", "7~2", "alive"),
        (True, "7~1", "71", "draining"),
        (True, "moab.7", "moab.8", "draining"),
        (True, "7.1", "7.2", "draining"),
        (True, "", "8", "alive"),
        (False, "7", "8", "alive"),
    ],
)
def test_who_finds_what_a_job_has_left(packed: bool, used: str, job: str, state: State) -> None:
    """The job itself, begun anew too; nobody else where the image can begin anew. Another image is left as ever."""
    known = node("alive", wanted=OLD, job="", used=used)
    after = node_states.sent_to(known, OLD, job, 200, packed=packed)
    assert (after.state, after.wanted, after.used) == (state, OLD, job if state == "alive" else used)
    assert (f"job {used}" in after.reason) == (state == "draining")
    assert node_states.sent_to(known, NEW, job, 200, packed=packed).state == "draining"


def test_a_packed_image_begins_anew() -> None:
    """By one boot from its disk, after which it is that job's, until a job that it was taken for lets go unseen."""
    known = node("alive", wanted=OLD, job="", used="7", fresh="a1")
    known = node_states.sent_to(known, OLD, "8", 200, packed=True)
    kept = node_states.released(known, "8", 201)
    assert (kept.state, kept.used, kept.reason) == ("alive", "7", ""), "it has not left: the files are there still"
    known = node_states.reported(known, "rebooting", 202)
    assert (known.state, known.by_network) == ("rebooting", False)
    assert node_states.sent_to(known, OLD, "8", 203, packed=True) == known, "asked again, it goes on"
    unused = node_states.reported(node_states.released(known, "8", 203), "alive", 204, OLD, fresh="a2")
    assert (unused.is_there, unused.used) == (True, "")
    known = node_states.reported(known, "alive", 204, OLD, fresh="a2")
    assert (known.is_there, known.used, known.reason, known.tries) == (True, "8", "", 0)


@pytest.mark.parametrize("fresh", ["", "a1"])
def test_a_packed_image_as_it_was_left(fresh: str) -> None:
    """Booted by a power cut, or not booted at all, it is not what the job is to have: it is fetched anew."""
    known = node("rebooting", wanted=OLD, packed=True, used="6", fresh="a1")
    after = node_states.reported(known, "alive", 200, OLD, fresh=fresh)
    assert (after.state, after.tries, after.by_network) == ("rebooting", 1, True)
    assert after.reason == f"it came back in {OLD}, as it was left"
    for state in ("blancmange", "queued", "fetch", "verify", "unpack", "boot"):
        after = node_states.reported(after, state, 201)
    assert node_states.reported(after, "alive", 202, OLD).is_there, "what has just been put on the disk is new"
    unpacked = node("rebooting", wanted=OLD, used="6", fresh="a1")
    assert node_states.reported(unpacked, "alive", 200, OLD, fresh=fresh).is_there


@pytest.mark.parametrize(
    "member",
    [
        {"name": "../n"},
        {"name": "n1\n"},
        {"mac": "52:54:00"},
        {"mac": "52:54:00:00:00:0G"},
        {"uuid": "1"},
        {"state": "asleep"},
        {"image": "compute"},
        {"image": "../../etc-1-0"},
        {"wanted": "compute-1-0-0-0"},
        {"slots": ["x"]},
        {"slots": "compute-1-0"},
        {"percent": 101},
        {"percent": -1},
        {"percent": True},
        {"tries": "1"},
        {"job": "a b"},
        {"heard": None},
        {"reason": 7},
        {"job": "7~"},
        {"used": "7~1~2"},
        {"fresh": "x y"},
        {"packed": 1},
    ],
)
def test_damaged_records(member: dict[str, object]) -> None:
    """What is no node is said to be none."""
    with pytest.raises(Misfit, match="a node"):
        Node.from_json({**node().to_json(), **member}, "a node")


def test_it_is_read_as_it_was_written() -> None:
    """Nothing of it is lost."""
    assert Node.from_json(node().to_json(), "a node") == node()
