"""The steps of mkimg: a tree is made, becomes an image, is packed and lies signed beside the others, or nothing is."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.files import lock
from cncp.netboot.cidd import Place
from cncp.netboot.image_name import checked
from cncp.netboot.image_store import Blob, ImageStore, Manifest, Role, System
from cncp.netboot.mkimg import archives, boot_files, darwin, exclude_lists, overlay_initrd, preparation
from cncp.netboot.mkimg.in_tree import Tree
from cncp.netboot.mkimg.tree_sources import Source
from cncp.process import run

_LITTLE_ROOM, _FEW_FILES = 8 << 20, 16
"""Bytes and files: a disk that takes no more of them is full, whatever a program has said of it."""

_ROLES: tuple[Role, ...] = ("kernel", "initrd", "root")
_WORKSHOP = ".making-"


@dataclass(frozen=True)
class Recipe:
    """What an image is made of: its source, how its tree is packed, and what of it is left out.

    ``bundle`` is what engines are installed from, as ``cncp bundle.make`` makes it; without one there are none.
    What is not of Linux is kept and nothing more.
    """

    source: Source
    form: archives.Format
    excluded: Sequence[str]
    bundle: Path | None = None
    system: System = "linux"

    @property
    def left_out(self) -> list[str]:
        """What does not go into the image, secrets too."""
        return [*self.excluded, *(darwin.SECRETS if self.system == "darwin" else exclude_lists.SECRETS)]

    def find(self, tree: Tree) -> boot_files.BootFiles:
        """Return what boots. Raises CncpError where there is nothing."""
        return darwin.find(tree) if self.system == "darwin" else boot_files.find(tree)

    def prepare(self, tree: Tree) -> None:
        """Make a tree an image. Raises CncpError."""
        if self.system == "darwin":
            darwin.prepare(tree)
        else:
            preparation.prepare(tree, self.bundle)


def make(name: str, recipe: Recipe, place: Place, say: Callable[[str], object]) -> Manifest:
    """Make an image, in cidd's own folder, and return its manifest.

    The same again changes nothing. Raises CncpError, with nothing left, for a bad name, a tree without a kernel, a
    full disk; UsageError where there is an image of that name with other content; Busy while another one is made.
    """
    checked(name)
    recipe.source.check()
    with alone(place.folder, f"cncp image.make {name}"), _workshop(place.folder) as workshop:
        images = place.images()
        tree = Tree(workshop / "tree")
        tree.root.mkdir()
        say("getting the tree")
        recipe.source.fill(tree.root, recipe.left_out)
        tree.root.chmod(0o755)
        tree.prune(recipe.left_out)
        found = recipe.find(tree)
        tree.take(found.kernel, workshop / "kernel")
        if found.initrd:
            tree.take(found.initrd, workshop / "initrd")
        if recipe.form == "squashfs" and recipe.system == "linux":
            overlay_initrd.make(tree, found, workshop / "initrd")
        elif not found.initrd and recipe.system == "linux":
            say("it has no initrd: only nodes boot it whose disk, and ext4, are built into its kernel")
        recipe.prepare(tree)
        say(f"packing it for the kernel {found.kernel}")
        archives.pack(tree.root, workshop / "root", recipe.form)
        try:
            roles = [role for role in _ROLES if (workshop / role).exists()]
            blobs = tuple(_added(images, role, workshop / role) for role in roles)
            images.add(Manifest(name, recipe.form, time.time(), blobs, recipe.system), place.signing_key())
        finally:
            # Parts of an image that has not come to be are nobody's.
            images.tidy()
    return images.read(name)


def _added(images: ImageStore, role: Role, path: Path) -> Blob:
    with path.open("rb") as content:
        return images.add_blob(role, content)


@contextlib.contextmanager
def alone(folder: Path, operation: str) -> Iterator[None]:
    """Keep others from making images or taking some away. Raises Busy where somebody does."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock(folder / "images.lock", operation):
        yield


@contextlib.contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """Give a folder on the disk of the images, and take it away in the end; first what a killed mkimg has left."""
    for left in folder.glob(f"{_WORKSHOP}*"):
        _remove(left)
    made = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=folder))
    try:
        yield made
    except (CncpError, OSError):
        seen = os.statvfs(folder)
        if seen.f_bfree * seen.f_frsize < _LITTLE_ROOM or (seen.f_files and seen.f_ffree < _FEW_FILES):
            raise CncpError(f"the disk of {folder} is full", "make room there: cncp image.remove NAME") from None
        raise
    finally:
        _remove(made)


def _remove(folder: Path) -> None:
    """Take a tree away, and nothing that is mounted in it."""
    run(["rm", "-rf", "--one-file-system", "--", folder])
