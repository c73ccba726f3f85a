"""Images of ours in clouds: each uploaded once, known by its digest, and not forgotten where an upload was cut off.

An upload is noted in ``CNCP_HOME/cloud/uploads.json`` before it begins, with where; what it leaves has our tags from
the first call on. The next one takes that away and begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from cncp import files
from cncp.errors import CncpError
from cncp.pools.base import Say
from cncp.pools.cloud.cloud_disk import Disk
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import OWNER
from cncp.records import Record
from cncp.state_files import StateFile

IMAGE, PROFILE, CODE = "cncp-image", "cncp-profile", "cncp-code"
"""Tags of images, besides OWNER: SHA-256 of the file, whose cluster's profile it is of, SHA-256 of the code in it."""

READY = 1800.0
"""Seconds that a cloud may take from the last byte until an image can be used."""

_STEPS = 10  # times that an upload says how far it is


State = Literal["ready", "partial"]
"""``partial`` is what is left of an upload that did not come to its end, or what has arrived as something else."""


@dataclass(frozen=True)
class Image:
    """An image of ours in a cloud; ``size`` is in bytes as far as the cloud says, ``since`` in s since the epoch."""

    id: str
    name: str
    state: State
    since: float = 0.0
    size: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


class Images(Protocol):
    """A cloud that takes images. Methods raise what those of a `Provider` do."""

    where: str
    site: Mapping[str, str]

    def images(self, tags: Mapping[str, str]) -> Sequence[Image]:
        """Return all that have these tags, with what uploads have left."""

    def upload(self, disk: Disk, tags: Mapping[str, str], clock: Clock, say: Say) -> Image:
        """Make an image of a file, private to the account, and return when it can be used.

        What is made has the tags from its first moment. Raises CncpError where what has arrived is not what was sent.
        """

    def drop(self, image: Image) -> None:
        """Take an image away, or what is left of one. One that is gone is no error."""


@dataclass(frozen=True)
class Upload(Record):
    """An upload that has begun: of which image, to where."""

    digest: str
    site: Mapping[str, str]


@dataclass(frozen=True)
class _Uploads(Record):
    uploads: tuple[Upload, ...] = ()


STORE = StateFile(
    "cloud/uploads.json",
    _Uploads,
    "see what of yours is in clouds: cncp cloud.list; then put the file right, or away: {path}",
    "the journal of images that are uploaded",
)


@contextlib.contextmanager
def locked(home: Path, operation: str) -> Iterator[None]:
    """Keep other commands from uploading and taking away images meanwhile; instances come and go."""
    folder = home / "cloud"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.lock(folder / "images.lock", operation):
        yield


def begun(home: Path) -> tuple[Upload, ...]:
    """Return the uploads that have not come to an end as far as is known. Raises CncpError."""
    kept = STORE.load(home)
    return kept.uploads if kept else ()


def _note(home: Path, uploads: Sequence[Upload]) -> None:
    STORE.path(home).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    STORE.save(home, _Uploads(tuple(uploads)) if uploads else None)


def bring(cloud: Images, home: Path, disk: Disk, tags: Mapping[str, str], clock: Clock, say: Say) -> tuple[Image, bool]:
    """Have an image in a cloud; return it, and whether it had to be uploaded. Raises CncpError.

    ``tags`` are those of its maker. To be called inside `locked`: what is partial is nobody's at work then.
    """
    mine = {OWNER: tags[OWNER], IMAGE: disk.digest}
    tidy(cloud, home, mine, clock, say)
    there = [image for image in clock.asked(lambda: cloud.images(mine)) if image.state == "ready"]
    if there:
        return there[0], False
    upload = Upload(disk.digest, cloud.site)
    _note(home, (*begun(home), upload))
    try:
        made = cloud.upload(disk, {**tags, **mine}, clock, say)
    except BaseException:
        # What cannot be taken away now is so by the next command: it is noted, and has our tags.
        with contextlib.suppress(CncpError):
            tidy(cloud, home, mine, clock, say)
        raise
    _note(home, [entry for entry in begun(home) if entry != upload])
    return made, True


def tidy(cloud: Images, home: Path, tags: Mapping[str, str], clock: Clock, say: Say) -> None:
    """Take away what uploads of these tags have left in a cloud. Raises CncpError."""
    for image in clock.asked(lambda: cloud.images(tags)):
        if image.state == "partial":
            say(f"taking away what an upload has left: {image.id}")
            clock.asked(lambda: cloud.drop(image))  # noqa: B023  # called within this turn
    kept = begun(home)
    left = [entry for entry in kept if entry.site != cloud.site or tags.get(IMAGE, entry.digest) != entry.digest]
    if left != list(kept):
        _note(home, left)


def unwanted(image: Image, named: Collection[str]) -> str:
    """Return why an image is wanted by nobody, going by the images that pools name; "" where one does."""
    if image.state == "partial":
        return "its upload was cut off"
    return "" if {image.id, image.name} & set(named) else "no pool of the file names it"


class Progress:
    """Says how far an upload is, at every tenth."""

    def __init__(self, size: int, say: Say) -> None:
        self._size, self._say, self._done, self._said = max(1, size), say, 0, 0

    def add(self, count: int) -> None:
        """Count bytes that are there."""
        self._done += count
        step = min(_STEPS, self._done * _STEPS // self._size)
        if step > self._said:
            self._said = step
            self._say(f"{step * 100 // _STEPS} % of {self._size / 1e6:.0f} MB")


def insist_on_arrival(cloud: Images, image: Image) -> None:
    """Raise CncpError where a cloud does not have as an image what was sent, by its own sum of it."""
    if image.state != "ready":
        raise CncpError(
            f"{cloud.where} has not got what was sent as {image.id}: its sum is another",
            "run this again: it is uploaded anew",
        )
