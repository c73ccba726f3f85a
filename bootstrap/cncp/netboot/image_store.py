"""Images on the server: for each a signed manifest, and blobs by their SHA-256, which images share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cncp.errors import CncpError, UsageError
from cncp.field_types import Matching, Sized, Within
from cncp.files import write_atomic
from cncp.netboot.image_name import ImageName, checked
from cncp.netboot.minisign import SigningKey, verify
from cncp.records import Record

_BLOCK = 1 << 20  # bytes

_AGAIN = "take it away with cncp image.remove, and make it again"

System = Literal["linux", "darwin"]
Role = Literal["kernel", "initrd", "root"]
Sha256 = Annotated[str, Matching(r"[0-9a-f]{64}", "a SHA-256")]


@dataclass(frozen=True)
class Blob(Record):
    """A part of an image: what it is, its SHA-256, its size in bytes."""

    role: Role
    sha256: Sha256
    size: Annotated[int, Within(1, 1 << 50)]


@dataclass(frozen=True)
class Manifest(Record):
    """What an image is made of. ``root`` is how its tree is packed; ``made`` is in s since the epoch."""

    name: ImageName
    root: Literal["tar.zst", "squashfs"]
    made: float
    blobs: Annotated[tuple[Blob, ...], Sized(3, 1)]
    system: System = "linux"


class ImageStore:
    """A folder with images, and the public key that their manifests are held against."""

    def __init__(self, folder: Path, public: str) -> None:
        self._images = folder / "images"
        self._blobs = folder / "blobs"
        self._public = public

    def names(self) -> list[str]:
        """Return the images that are there, by name."""
        found = self._images.glob("*/manifest.minisig") if self._images.is_dir() else ()
        return sorted(path.parent.name for path in found)

    def manifest(self, name: str) -> tuple[bytes, bytes]:
        """Return the manifest of an image and its signature, as they were written. Raises UsageError."""
        folder = self._images / checked(name)
        try:
            return (folder / "manifest.json").read_bytes(), (folder / "manifest.minisig").read_bytes()
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            raise UsageError(f"there is no image {name}", f"there are: {there}; make it with cncp image.make") from None

    def read(self, name: str) -> Manifest:
        """Return what an image is made of. Raises CncpError where that is not signed with our key, or not of it."""
        content, signature = self.manifest(name)
        signed_for = verify(self._public, content, signature)
        manifest = Manifest.from_json(content, f"the manifest of {name}", "make the image again")
        if signed_for != name or manifest.name != name:
            raise CncpError(f"the manifest of {name} is that of {manifest.name}", "make the image again")
        return manifest

    def bootable(self, name: str) -> bool:
        """Tell whether nodes can be put into an image. Raises CncpError as `read` does."""
        return self.read(name).system == "linux"

    def packed(self, name: str) -> bool:
        """Tell whether an image stays packed on a node, so that it can begin anew. Raises CncpError as `read` does."""
        return self.read(name).root == "squashfs"

    def blob(self, sha256: str) -> Path:
        """Return the file of a blob."""
        return self._blobs / sha256

    def add_blob(self, role: Role, source: BinaryIO) -> Blob:
        """Copy a part of an image that will be added; what another image has too is kept once.

        Raises CncpError for an empty one.
        """
        digest, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(prefix=".", dir=_folder(self._blobs))
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as copy:
                while block := source.read(_BLOCK):
                    digest.update(block)
                    size += copy.write(block)
                copy.flush()
                os.fsync(copy.fileno())
            if not size:
                raise CncpError(f"the {role} of the image is empty", "see what it was made from, and make it again")
            path.chmod(0o644)
            path.replace(self.blob(digest.hexdigest()))
        finally:
            path.unlink(missing_ok=True)
        return Blob(role, digest.hexdigest(), size)

    def add(self, manifest: Manifest, key: SigningKey) -> None:
        """Sign an image and have it be there, all its parts having been added.

        Raises UsageError where there is one of its name with other parts.
        """
        content = (json.dumps(manifest.to_json(), indent=1) + "\n").encode()
        folder = self._images / manifest.name
        if (folder / "manifest.minisig").exists():
            there = Manifest.from_json((folder / "manifest.json").read_bytes(), "the manifest", "remove the image")
            if there.blobs == manifest.blobs:
                return
            raise UsageError(
                f"there is an image {manifest.name} with other content", "give the new one a higher subversion"
            )
        _folder(self._images)
        _folder(folder)
        write_atomic(folder / "manifest.json", content, 0o644)
        write_atomic(folder / "manifest.minisig", key.sign(content, manifest.name), 0o644)

    def remove(self, name: str) -> int:
        """Take an image away, and its parts that no other has; return how many bytes these were. Raises UsageError."""
        self.manifest(name)
        # What is not signed is not there.
        (self._images / name / "manifest.minisig").unlink()
        return self.tidy()

    def tidy(self) -> int:
        """Take away what belongs to no image, such as what is left of one that was not finished; return its bytes.

        Only while none is made. Where an image cannot be read, what it needs is not known, and all stays.
        """
        names = self.names()
        try:
            used = {blob.sha256 for name in names for blob in self.read(name).blobs}
        except CncpError:
            return 0
        unused = [path for path in _listed(self._blobs) if path.name not in used]
        freed = sum(path.stat().st_size for path in unused)
        for path in unused:
            path.unlink()
        for folder in _listed(self._images):
            if folder.name not in names:
                shutil.rmtree(folder)
        return freed

    def check(self, name: str) -> None:
        """Read all of an image. Raises CncpError where it is not as it was signed."""
        for blob in self.read(name).blobs:
            digest, size = hashlib.sha256(), 0
            try:
                with self.blob(blob.sha256).open("rb") as content:
                    while block := content.read(_BLOCK):
                        digest.update(block)
                        size += len(block)
            except FileNotFoundError:
                raise CncpError(f"the {blob.role} of {name} is not there", _AGAIN) from None
            if (digest.hexdigest(), size) != (blob.sha256, blob.size):
                raise CncpError(f"the {blob.role} of {name} is damaged", _AGAIN)


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    # Whatever the umask: cidd, who reads it, may be another account.
    path.chmod(0o755)
    return path
