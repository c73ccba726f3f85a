"""Images of ours in an OpenStack, by glance.

Facts: https://docs.openstack.org/api-ref/image/v2/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cncp.errors import CncpError
from cncp.pools.base import Say
from cncp.pools.cloud.cloud_disk import Disk
from cncp.pools.cloud.images import READY, Image, Progress, State, insist_on_arrival
from cncp.pools.cloud.openstack import OpenStack
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import AGAIN, Template, Unsure, seconds
from cncp.pools.cloud.reclaim import LOOK

_MARK = "cncp"
"""A tag of glance's own: lists go by it, and not by all properties that images of a public cloud have."""

_SUM = "cncp-sum-"
"""Begins the names of properties with sums of what was sent, one of which glance has of what has arrived."""

_BLOCK = 1 << 20
_ANSWERS = 600.0  # s after the last byte until glance says that it has stored them


class OpenStackImages(OpenStack):
    """A project of an OpenStack, and the images of ours in it."""

    def __init__(self, site: Mapping[str, str]) -> None:
        super().__init__(site, Template())

    def images(self, tags: Mapping[str, str]) -> Sequence[Image]:
        """Return all that have these tags; one of which glance has not what was sent is partial."""
        with self._errors():
            found = [_image(listed) for listed in self._cloud.image.images(tag=_MARK)]
        return [image for image in found if tags.items() <= image.tags.items()]

    def upload(self, disk: Disk, tags: Mapping[str, str], clock: Clock, say: Say) -> Image:
        """Upload a file as it is, and have glance's own sum of it compared."""
        with self._errors():
            made = self._cloud.image.create_image(
                f"cncp-{disk.digest[:12]}",
                allow_duplicates=True,
                disk_format=disk.format,
                container_format="bare",
                visibility="private",
                tags=[_MARK],
                min_disk=disk.gigabytes,
                meta={**tags, **{_SUM + kind: found for kind, found in disk.sums.items()}},
            )
        with self._errors():
            # By hand: openstacksdk allows for the 60 s of other calls, and says nothing meanwhile.
            answer = self._cloud.image.put(
                f"/images/{made.id}/file",
                data=_Sent(disk, Progress(disk.size, say)),
                headers={"Content-Type": "application/octet-stream"},
                timeout=_ANSWERS,
                connect_retries=0,
                status_code_retries=0,
            )
            self._sdk.exceptions.raise_from_response(answer)
        return self._arrived(made.id, disk, clock)

    def _arrived(self, name: str, disk: Disk, clock: Clock) -> Image:
        """Wait until an image is active, and compare its sum."""
        seen: list[Any] = []

        def look() -> bool:
            with self._errors():
                seen[:] = [self._cloud.image.get_image(name)]
            return seen[0].status not in ("importing", "queued", "saving", "uploading")

        if not clock.until(lambda: clock.asked(look), READY, LOOK):
            raise Unsure(f"{self.where} does not get ready with image {name}: it is {seen[0].status}", AGAIN)
        [there] = seen
        if there.status != "active":
            raise CncpError(f"{self.where} has image {name} as {there.status}", AGAIN)
        insist_on_arrival(self, _image(there))
        return _image(there)

    def drop(self, image: Image) -> None:
        """Delete an image."""
        with self._errors():
            self._cloud.image.delete_image(image.id, ignore_missing=True)


class _Sent:
    """The bytes of a file as they are sent; their number is told first, by which glance refuses what is too much.

    The file is opened anew each time: with another token keystoneauth sends once more, of an open one what is left.
    """

    def __init__(self, disk: Disk, progress: Progress) -> None:
        self._disk, self._progress = disk, progress

    def __len__(self) -> int:
        return self._disk.size

    def __iter__(self) -> Iterator[bytes]:
        with self._disk.path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
                self._progress.add(len(block))


def _image(found: Any) -> Image:
    tags = {str(key): str(value) for key, value in (found.properties or {}).items()}
    # Of one whose data were lost on the way it may have less, and calls it active all the same.
    sums = {"md5": found.checksum, found.hash_algo: found.hash_value}
    whole = found.status == "active" and any(has and has == tags.get(f"{_SUM}{kind}") for kind, has in sums.items())
    state: State = "ready" if whole else "partial"
    return Image(found.id, found.name or "", state, seconds(found.created_at), found.size or 0, tags)
