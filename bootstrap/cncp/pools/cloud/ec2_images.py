"""Images of ours in EC2: a snapshot that is written block by block, and an image that is registered of it.

Neither a bucket nor a role is needed, as the other way (import-image) asks for.
Facts: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html,
https://docs.aws.amazon.com/ebs/latest/APIReference/API_PutSnapshotBlock.html
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cncp.errors import CncpError
from cncp.pools.base import Say
from cncp.pools.cloud.cloud_disk import Disk
from cncp.pools.cloud.ec2 import Ec2, tagged, told
from cncp.pools.cloud.ec2_answers import NotFound
from cncp.pools.cloud.images import IMAGE, READY, Image, Progress
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import AGAIN, Template, Unsure, seconds
from cncp.pools.cloud.reclaim import LOOK
from cncp.pools.vm import image as vm_image

_BLOCK = 512 * 1024  # bytes: the only size there is
_EMPTY = bytes(_BLOCK)
_AT_ONCE = 8

_KNOWN = 120.0
"""Seconds for which a snapshot that was just begun may be unknown to what takes its blocks."""

_DEVICE = "/dev/xvda"


class Ec2Images(Ec2):
    """A region of EC2, and the images of ours in it."""

    def __init__(self, site: Mapping[str, str]) -> None:
        super().__init__(site, Template())

    def images(self, tags: Mapping[str, str]) -> Sequence[Image]:
        """Return all that have these tags; a snapshot that no image is of is partial."""
        with self._errors():
            made = self._reads.describe_images(Owners=["self"], Filters=tagged(tags))["Images"]
            snapshots = self._reads.describe_snapshots(OwnerIds=["self"], Filters=tagged(tags))["Snapshots"]
        used = {name for found in made for name in _snapshots(found)}
        ready = [_image(found) for found in made]
        return [*ready, *(_left(found) for found in snapshots if found["SnapshotId"] not in used)]

    def upload(self, disk: Disk, tags: Mapping[str, str], clock: Clock, say: Say) -> Image:
        """Write a snapshot of all blocks that are not empty, and register an image of it."""
        with _raw(disk, say) as path:
            snapshot = self._begin(disk, tags)
            count, total = self._write(snapshot, path, clock, say)
        with self._errors():
            self._blocks.complete_snapshot(
                SnapshotId=snapshot,
                ChangedBlocksCount=count,
                Checksum=total,
                ChecksumAlgorithm="SHA256",
                ChecksumAggregationMethod="LINEAR",
            )
        self._settled(lambda: self._reads.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0], clock)
        with self._errors():
            made = self._makes.register_image(
                Name=f"cncp-{disk.digest[:12]}-{os.urandom(4).hex()}",
                Description="A machine with IPython Parallel, made by cncp vm.package",
                Architecture="x86_64",
                VirtualizationType="hvm",
                # Without it no type of today's has a network.
                EnaSupport=True,
                RootDeviceName=_DEVICE,
                BlockDeviceMappings=[
                    {"DeviceName": _DEVICE,
                     "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3", "DeleteOnTermination": True}}
                ],
                TagSpecifications=[{"ResourceType": "image", "Tags": _named(tags)}],
            )["ImageId"]  # fmt: skip
        return _image(self._settled(lambda: self._reads.describe_images(ImageIds=[made])["Images"][0], clock))

    def _begin(self, disk: Disk, tags: Mapping[str, str]) -> str:
        with self._errors():
            return str(
                self._blocks.start_snapshot(
                    VolumeSize=disk.gigabytes,
                    Tags=_named(tags),
                    Description=f"cncp {disk.digest[:12]}",
                    ClientToken=os.urandom(16).hex(),
                    Timeout=60,
                )["SnapshotId"]
            )

    @functools.cached_property
    def _blocks(self) -> Any:
        return self._client("ebs", 4)

    def _write(self, snapshot: str, path: Path, clock: Clock, say: Say) -> tuple[int, str]:
        """Put all blocks that are not empty; return how many, and the sum of their sums."""
        progress, total, count, begun = Progress(path.stat().st_size, say), hashlib.sha256(), 0, clock.now()

        def put(block: tuple[int, bytes]) -> bytes:
            digest = hashlib.sha256(block[1]).digest()
            # At the latest the last of these looks raises.
            clock.until(lambda: self._put(snapshot, block, digest, begun, clock), _KNOWN, LOOK)
            return digest

        with path.open("rb") as stream, ThreadPoolExecutor(_AT_ONCE) as pool:
            for blocks in _windows(stream):
                full = [block for block in blocks if block[1] != _EMPTY]
                for digest in pool.map(put, full):
                    total.update(digest)
                count += len(full)
                progress.add(_BLOCK * len(blocks))
        return count, base64.b64encode(total.digest()).decode()

    def _put(self, snapshot: str, block: tuple[int, bytes], digest: bytes, begun: float, clock: Clock) -> bool:
        """Put a block; False while the snapshot is not known yet."""

        def call() -> None:
            with self._errors():
                self._blocks.put_snapshot_block(
                    SnapshotId=snapshot,
                    BlockIndex=block[0],
                    BlockData=block[1],
                    DataLength=_BLOCK,
                    Checksum=base64.b64encode(digest).decode(),
                    ChecksumAlgorithm="SHA256",
                )

        try:
            clock.asked(call)
        except NotFound:
            if clock.now() >= begun + _KNOWN:
                raise
            return False
        return True

    def _settled(self, ask: Callable[[], Mapping[str, Any]], clock: Clock) -> Mapping[str, Any]:
        """Ask until what was made can be used; return it. Raises CncpError where it never will be."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            seen.clear()
            try:
                with self._errors("InvalidAMIID.NotFound", "InvalidSnapshot.NotFound"):
                    seen.update(ask())
            except IndexError:
                return False  # not listed yet
            return seen.get("State") not in (None, "pending")

        if not clock.until(lambda: clock.asked(look), READY, LOOK):
            raise Unsure(f"{self.where} does not get ready with what was uploaded", AGAIN)
        if seen["State"] not in ("available", "completed"):
            why = seen.get("StateMessage") or seen.get("StateReason", {}).get("Message") or ""
            raise CncpError(f"{self.where} has it as {seen['State']}: {why}", AGAIN)
        return seen

    def drop(self, image: Image) -> None:
        """Take an image away with the snapshots that it is of, or one snapshot."""
        snapshots = [image.id]
        if image.id.startswith("ami-"):
            with self._errors():
                found = self._reads.describe_images(Filters=[{"Name": "image-id", "Values": [image.id]}])["Images"]
            snapshots = [name for listed in found for name in _snapshots(listed)]
            with self._errors("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
                self._makes.deregister_image(ImageId=image.id)
        for name in snapshots:
            with self._errors("InvalidSnapshot.NotFound"):
                self._makes.delete_snapshot(SnapshotId=name)


@contextmanager
def _raw(disk: Disk, say: Say) -> Iterator[Path]:
    """Give the bytes of a disk as a file: the file itself, or one that is made of it and gone afterwards."""
    if disk.format == "raw":
        yield disk.path
        return
    if shutil.which("qemu-img") is None:
        raise CncpError(
            "there is no qemu-img on this machine, which makes of a qcow2 what EC2 takes",
            "apt-get install qemu-utils, or name a raw image",
        )
    beside = disk.path.parent if os.access(disk.path.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=beside, prefix=".image-") as folder:
        say("unpacking the image")
        path = Path(folder, "disk.raw")
        vm_image.expand(disk.path, path)
        yield path


def _windows(stream: IO[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield blocks with their numbers, as many at a time as are sent at once; what is missing of the last is empty."""
    numbers = itertools.count()
    while content := stream.read(_BLOCK * _AT_ONCE):
        pieces = (content[at : at + _BLOCK] for at in range(0, len(content), _BLOCK))
        yield [(next(numbers), piece.ljust(_BLOCK, b"\0")) for piece in pieces]


def _snapshots(found: Mapping[str, Any]) -> list[str]:
    mappings = found.get("BlockDeviceMappings", ())
    return [mapping["Ebs"]["SnapshotId"] for mapping in mappings if "SnapshotId" in mapping.get("Ebs", {})]


def _image(found: Mapping[str, Any]) -> Image:
    # One that is still pending is whole already: it is of a snapshot that is complete.
    failed = found["State"] in ("error", "failed", "invalid")
    made = str(found.get("CreationDate", ""))
    size = sum(int(mapping.get("Ebs", {}).get("VolumeSize", 0)) for mapping in found.get("BlockDeviceMappings", ()))
    return Image(
        found["ImageId"],
        found.get("Name", ""),
        "partial" if failed else "ready",
        seconds(made),
        size << 30,
        told(found),
    )


def _left(found: Mapping[str, Any]) -> Image:
    size = int(found.get("VolumeSize", 0)) << 30
    name = found.get("Description", "")
    return Image(found["SnapshotId"], name, "partial", found["StartTime"].timestamp(), size, told(found))


def _named(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in {"Name": f"cncp-{tags[IMAGE][:12]}", **tags}.items()]
