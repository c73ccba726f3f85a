"""The life of a node as a table: what follows what, how long each may last, and what is done when it lasts longer.

Pure: nothing here asks the time, writes or sends. cidd holds each request against it, and the tests hold every
pair of states against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cncp.errors import CncpError
from cncp.field_types import Matching, Text, Within
from cncp.netboot.image_name import ImageName
from cncp.records import Record

State = Literal[
    "unknown",  # it asked for a boot script, and nobody has accepted it
    "ready",  # accepted; what runs on it, if anything, is not known
    "draining",  # its image runs, and ends what it works on
    "rebooting",  # it is to come back, by the network or from its disk
    "blancmange",  # the network's initramfs runs
    "partition",
    "queued",  # it waits until fewer nodes fetch
    "fetch",
    "verify",
    "unpack",
    "boot",  # it boots the image from its disk
    "alive",  # its image runs and has said so
    "failed",
]


@dataclass(frozen=True)
class Stay:
    """How long a state may last without a word, in s (None: for ever), and which reports a node may send in it."""

    patience: float | None
    next: frozenset[State]


def _stay(patience: float | None, *following: State) -> Stay:
    return Stay(patience, frozenset(following))


LIFE: Mapping[State, Stay] = {
    "unknown": _stay(None),
    "ready": _stay(None, "alive"),
    "draining": _stay(3600, "rebooting", "alive"),
    "rebooting": _stay(600, "blancmange", "alive"),
    "blancmange": _stay(120, "partition", "queued"),
    "partition": _stay(300, "queued"),
    "queued": _stay(300, "fetch"),
    # What waits and has not heard that it is its turn asks again.
    "fetch": _stay(300, "verify", "queued"),
    "verify": _stay(300, "unpack"),
    "unpack": _stay(900, "boot"),
    "boot": _stay(600, "alive"),
    "alive": _stay(None, "alive"),
    "failed": _stay(None, "alive"),
}
"""All states. What a node says out of this order it says of an earlier boot, or it is not that node."""

IN_BLANCMANGE: frozenset[State] = frozenset(("blancmange", "partition", "queued", "fetch", "verify", "unpack"))
"""States in which the network's initramfs runs."""

UNDER_WAY: frozenset[State] = IN_BLANCMANGE.union(("draining", "rebooting", "boot"))
"""States of a node that is on its way into an image."""

REPEATED: frozenset[State] = IN_BLANCMANGE.union(("boot",))
"""States that a node may report more than once."""

MOST_TRIES = 3
"""How often a node is begun anew before it has failed."""


class OutOfTurnError(CncpError):
    """A report that a node in this state cannot send."""


JOB_FORM = r"[A-Za-z0-9_.\[\]-]{0,64}(~[1-9][0-9]{0,3})?"
"""What a scheduler calls a job, after ``~`` how often it was begun anew; "" where there is none."""

NODE_FORM = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?"
NodeName = Annotated[str, Matching(NODE_FORM, "the name of a node")]
MAC_FORM, UUID_FORM = r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
Mac = Annotated[str, Matching(MAC_FORM, "an address of Ethernet in small letters")]
Uuid = Annotated[str, Matching(UUID_FORM, "a UUID in small letters")]
JobName = Annotated[str, Matching(JOB_FORM, "the name of a job")]
BootId = Annotated[str, Matching(r"[0-9a-f-]{0,36}", "the id of a boot")]
NoImage = Literal[""]


@dataclass(frozen=True)
class Node(Record):
    """A node, as cidd knows it. Times are s since the epoch.

    ``image`` is what it has said to run, ``wanted`` what it is to run, "" where that is nothing; ``slots`` are the
    images on its disk; ``since`` is when it came into its state, ``heard`` when it last said that it is in it.
    ``packed`` is whether what is wanted begins anew by each boot that cidd asks for; ``fresh`` is the boot in which
    ``image`` has, ``used`` the last job that has had it since.
    """

    name: NodeName
    mac: Mac
    uuid: Uuid
    state: State = "unknown"
    since: float = 0.0
    heard: float = 0.0
    image: ImageName | NoImage = ""
    wanted: ImageName | NoImage = ""
    job: JobName = ""
    slots: tuple[ImageName, ...] = ()
    percent: Annotated[int, Within(0, 100)] = 0
    tries: Annotated[int, Within(0, 1000)] = 0
    reason: Text = ""
    packed: bool = False
    used: JobName = ""
    fresh: BootId = ""

    @property
    def is_there(self) -> bool:
        """Whether it runs what it is to run."""
        return self.state == "alive" and bool(self.wanted) and self.image == self.wanted

    @property
    def by_network(self) -> bool:
        """Whether what is wanted has to be fetched: none of its slots holds it."""
        return self.wanted not in self.slots


def accepted(node: Node, now: float) -> Node:
    """Return a node that somebody vouches for."""
    return _moved(node, "ready", now) if node.state == "unknown" else node


def sent_to(node: Node, image: str, job: str, now: float, *, packed: bool = False) -> Node:
    """Return a node that a job wants in an image: at once where it runs that already.

    Not so where the image is ``packed`` and another job has used it: it begins anew, without what that has left there.
    Raises OutOfTurnError for one that nobody has accepted, and for one on its way for another job.
    """
    if node.state == "unknown":
        raise OutOfTurnError(f"{node.name} is unknown", f"accept it first: cncp node.accept {node.name}")
    if node.state in UNDER_WAY and node.job not in ("", job):
        raise OutOfTurnError(
            f"{node.name} is on its way to {node.wanted} for job {node.job}", "wait for it, or cancel that job"
        )
    if node.state in UNDER_WAY and node.wanted == image:
        return replace(node, job=job)
    wanted = replace(node, wanted=image, job=job, tries=0, reason="", percent=0, packed=packed)
    if node.state in ("alive", "draining"):
        # What drains still runs its image: it leaves for what is wanted by then, or stays.
        state: State = "draining"
        if node.image == image and packed and not _may_find(job, node.used):
            wanted = replace(wanted, reason=f"begins anew after job {node.used}")
        elif node.image == image:
            state, wanted = "alive", replace(wanted, used=job)
        return wanted if node.state == state else _moved(wanted, state, now)
    return _moved(wanted, "rebooting", now)


def tries_of(job: str) -> list[str]:
    """Return what a job was called before it was begun anew, the first time first, and what it is called now."""
    name, _, count = job.partition("~")
    return [name, *(f"{name}~{number}" for number in range(1, int(count or 0) + 1))]


def _may_find(job: str, other: str) -> bool:
    """Tell whether a job may find what another has left, if there was one: itself, before it was begun anew."""
    return not other or tries_of(job)[0] == tries_of(other)[0]


def released(node: Node, job: str, now: float) -> Node:
    """Return a node that a job wants no longer. What is on its way arrives; what still drains goes on as it was."""
    if node.job != job:
        return node
    free = replace(node, job="")
    return _moved(replace(free, wanted=node.image, reason=""), "alive", now) if node.state == "draining" else free


def reported(
    node: Node, state: State, now: float, image: str = "", percent: int = 0, reason: str = "", fresh: str = ""
) -> Node:
    """Return a node that has said where it is. Raises OutOfTurnError where it cannot be there.

    ``fresh`` is the boot in which the image has begun anew, "" where it is as it was left.
    """
    if state == "failed" and node.state in UNDER_WAY:
        return _again(node, now, reason or "it failed")
    # Said again: it may not have heard the answer.
    if state not in LIFE[node.state].next and not (state == node.state and state in REPEATED):
        raise OutOfTurnError(f"{node.name} is {node.state} and cannot be {state}", "begin it anew: cncp node.again")
    if state != "alive":
        return _moved(replace(node, percent=percent), state, now)
    if node.state == "draining" and image == node.image:
        return replace(node, heard=now)
    slots = tuple(dict.fromkeys((image, *node.slots)))
    awake = replace(node, image=image, slots=slots, percent=0, fresh=fresh)
    if node.state in ("ready", "failed", "alive"):
        return _moved(replace(awake, wanted=image, reason=reason), "alive", now)
    # As it was left where its power was cut perhaps, or its agent was started again, before the boot loader was told.
    as_left = node.state == "rebooting" and node.packed and fresh in ("", node.fresh)
    if image != node.wanted or as_left:
        return _again(awake, now, f"it came back in {image}" + (", as it was left" if image == node.wanted else ""))
    return _moved(replace(awake, tries=0, reason="", used=node.job), "alive", now)


def begun_anew(node: Node, now: float) -> Node:
    """Return a node that somebody has switched off and on, as if it had never tried. Raises OutOfTurnError."""
    if (node.state not in UNDER_WAY and node.state != "failed") or not node.wanted:
        raise OutOfTurnError(f"{node.name} is {node.state}, on its way to no image", "cncp node.list says what runs")
    return _moved(replace(node, tries=0, reason="", percent=0), "rebooting", now)


def looked_at(node: Node, now: float, since: float = 0.0) -> Node:
    """Return a node that is begun anew, or has failed, if it has said nothing for too long.

    What it could not say counts from ``since``, when cidd began to hear.
    """
    patience = LIFE[node.state].patience
    if patience is None or now - max(node.heard, since) <= patience:
        return node
    return _again(node, now, f"{node.state} for more than {patience:g} s")


def _again(node: Node, now: float, reason: str) -> Node:
    """Return a node that boots once more, or has failed for good. From its disk a node comes back wrong once."""
    tries = node.tries + 1
    # What is on the disk did not do: it is fetched anew.
    slots = tuple(name for name in node.slots if name != node.wanted)
    state: State = "failed" if tries >= MOST_TRIES else "rebooting"
    return _moved(replace(node, tries=tries, slots=slots, reason=reason, percent=0), state, now)


def _moved(node: Node, state: State, now: float) -> Node:
    return replace(node, state=state, since=node.since if node.state == state else now, heard=now)
