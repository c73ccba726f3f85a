"""What cidd, the nodes and cidcapt tell one another, and how a node proves that it is itself."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from cncp.field_types import Matching, Sized, Text, Within
from cncp.netboot.image_name import ImageName
from cncp.netboot.node_states import BootId, JobName, NodeName, NoImage, State
from cncp.records import Record

BOOT = "boot"
"""The purpose of a key that holds for one boot of Blancmange; other purposes are names of images."""

SERIAL, PURPOSE, SIGNATURE = "X-Cncp-Serial", "X-Cncp-Key", "X-Cncp-Signature"
"""Headers of what a node sends."""


@dataclass(frozen=True)
class Report(Record):
    """What a node says of itself. ``slots`` are the images on its disk, where it has looked.

    ``fresh`` is the boot in which its image has begun anew, "" where it is as it was left.
    """

    state: State
    image: ImageName | NoImage = ""
    percent: Annotated[int, Within(0, 100)] = 0
    reason: Text = ""
    slots: Annotated[tuple[ImageName, ...], Sized(32)] | None = None
    fresh: BootId = ""


@dataclass(frozen=True)
class Task(Record):
    """What a node is to do next.

    ``none``: go on. ``drain``: take no more work, and say ``rebooting`` when there is none. ``switch``: boot
    ``image`` from its slot; ``blancmange``: boot Blancmange, from the disk with ``key`` as that boot's.
    ``install``: put ``image`` into a slot. ``wait``: ask again after ``seconds``. ``rendezvous`` is the digest of
    what its engines join by, "" where they are to join nothing.
    """

    verb: Literal["none", "drain", "switch", "blancmange", "install", "wait"]
    image: ImageName | NoImage = ""
    seconds: Annotated[float, Within(0, 3600)] = 0.0
    key: Annotated[str, Matching(r"[0-9a-f]{0,64}", "a key")] = ""
    rendezvous: Annotated[str, Matching(r"[0-9a-f]{0,16}", "a digest")] = ""


@dataclass(frozen=True)
class Wish(Record):
    """Nodes that are to be in an image, for a job, within ``timeout`` s.

    With ``hold`` they are nobody else's until the job lets them go: a pool's, which asks for others as it likes.
    """

    nodes: Annotated[tuple[NodeName, ...], Sized(1024, 1)]
    image: ImageName
    timeout: Annotated[float, Within(1, 7 * 86400)]
    hold: bool = False


@dataclass(frozen=True)
class NodeProgress(Record):
    """Where a node is on its way into an image."""

    name: NodeName
    state: State
    percent: Annotated[int, Within(0, 100)] = 0
    reason: Text = ""


Outcome = Literal["waiting", "done", "failed", "late"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


@dataclass(frozen=True)
class CaptureState(Record):
    """How far what a job asked for is: ``done``, ``failed`` or ``late`` at the end, before that ``waiting``."""

    job: JobName
    image: ImageName
    outcome: Outcome
    nodes: tuple[NodeProgress, ...]

    @property
    def tag(self) -> str:
        """What is another for another state."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def session_key(boot_key: bytes, image: str) -> bytes:
    """Return the key of an image on a node: whoever has the key of the boot that put it there can derive it."""
    return hmac.new(boot_key, b"session " + image.encode(), hashlib.sha256).hexdigest().encode()
