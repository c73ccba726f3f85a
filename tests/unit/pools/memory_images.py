"""A cloud in memory that takes images, with what clouds do to those who upload them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cncp.errors import CncpError
from cncp.pools.base import Say
from cncp.pools.cloud.cloud_disk import Disk
from cncp.pools.cloud.images import Image, Progress, State, insist_on_arrival
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import Unsure


@dataclass
class MemoryImages:
    """A cloud. ``ends`` is what an upload ends with in its middle; ``silent`` how many calls get no answer first.

    ``harmed`` has it get other bytes than were sent; ``kept`` has it refuse to take anything away.
    """

    where: str = "memory, here"
    site: Mapping[str, str] = field(default_factory=lambda: {"provider": "memory", "cloud": "", "region": "here"})
    ends: BaseException | None = None
    silent: int = 0
    harmed: bool = False
    kept: bool = False
    made: dict[str, Image] = field(default_factory=dict)
    uploads: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def _call(self) -> None:
        if self.silent:
            self.silent -= 1
            raise Unsure("connection reset by peer", "run this again")

    def images(self, tags: Mapping[str, str]) -> Sequence[Image]:
        self._call()
        return [image for image in self.made.values() if tags.items() <= image.tags.items()]

    def upload(self, disk: Disk, tags: Mapping[str, str], clock: Clock, say: Say) -> Image:
        self.uploads += 1
        name = f"img-{next(self._numbers)}"
        self.made[name] = Image(name, disk.digest[:12], "partial", clock.now(), disk.size, dict(tags))
        progress = Progress(disk.size, say)
        progress.add(disk.size // 2)
        if self.ends:
            raise self.ends
        progress.add(disk.size - disk.size // 2)
        state: State = "partial" if self.harmed else "ready"
        self.made[name] = Image(name, disk.digest[:12], state, clock.now(), disk.size, dict(tags))
        insist_on_arrival(self, self.made[name])
        return self.made[name]

    def drop(self, image: Image) -> None:
        self._call()
        if self.kept:
            raise CncpError("it may not be deleted", "ask who may")
        self.made.pop(image.id, None)
