"""Reading a bundle: what it was made for, and the wheels in it. `cncp.release.bundle` makes them."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import PreflightError, UsageError
from cncp.install import wheels
from cncp.install.wheels import Target
from cncp.records import Misfit, Record

MANIFEST = "manifest.json"
"""The first member: versions, platforms, Pythons, and the SHA-256 of every other member."""

_HINT = "make one with: cncp bundle.make, and name that file"


@dataclass(frozen=True)
class BundleManifest(Record):
    """What a bundle's manifest says is in it: for what, and each member with its SHA-256."""

    platforms: tuple[str, ...]
    pythons: tuple[str, ...]
    members: Mapping[str, str]
    jupyter: bool = False
    engines_only: bool = False


@dataclass(frozen=True)
class Bundle:
    """A bundle, or the folder that one was unpacked to."""

    path: Path
    platforms: tuple[str, ...]
    pythons: tuple[str, ...]
    members: Mapping[str, str]
    jupyter: bool = False
    engines_only: bool = False

    def check(self, target: Target, *, jupyter: bool = False, engines_alone: bool = False) -> None:
        """Raise PreflightError unless the bundle was made for ``target`` and holds what is wanted.

        That is Jupyter as well, or for ``engines_alone`` not more than they need.
        """
        if self.engines_only and not engines_alone:
            raise PreflightError(
                f"{self.path} holds only what engines need",
                "make one that holds all: cncp bundle.make without --engines-only, or install with --role engine",
            )
        if jupyter and not self.jupyter:
            raise PreflightError(
                f"{self.path} holds no Jupyter",
                "make one that does: cncp bundle.make --jupyter, or leave jupyter out",
            )
        machine = any(wheels.fits(f"x-1-py3-none-{platform}.whl", target) for platform in self.platforms)
        version = f"{target.python[0]}.{target.python[1]}"
        if machine and version in self.pythons:
            return
        hint = f"make one for it: cncp bundle.make --platforms {target.platform} --pythons {version}"
        if machine:
            hint = f"name a Python that it has with --python, or {hint}"
        raise PreflightError(
            f"{self.path} is for Python {', '.join(self.pythons)} on {', '.join(self.platforms)}; this is {target}",
            hint,
        )

    def identify(self, digest: str | None) -> None:
        """Raise UsageError where a digest is given and the file has another. Nothing else tells a stranger's bundle."""
        if not digest:
            return
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a folder, which has no SHA-256", "name the bundle itself")
        found = sha256(self.path)
        if found != digest.lower():
            raise UsageError(
                f"{self.path} is not the bundle that was made: its SHA-256 is {found} and not {digest}",
                "get it again, and compare with what bundle.make said",
            )

    def unpack(self, folder: Path, target: Target) -> Path:
        """Write the wheels that run on ``target`` to ``folder`` and return where they are."""
        if self.path.is_dir():
            return self.path / "wheels"
        try:
            with tarfile.open(self.path) as archive:
                for name, content in _wheels(archive):
                    if not wheels.fits(name, target):
                        continue
                    if hashlib.sha256(content).hexdigest() != self.members.get(f"wheels/{name}"):
                        raise UsageError(f"{self.path} is damaged: {name} is not what it was", _HINT)
                    (folder / name).write_bytes(content)
        except (OSError, EOFError, tarfile.TarError) as error:
            raise UsageError(f"{self.path} is damaged: {error}", _HINT) from None
        return folder


def sha256(path: Path) -> str:
    """Return the digest of a file that may be large."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def _wheels(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        stream = archive.extractfile(member) if member.isfile() and member.name.startswith("wheels/") else None
        if stream is not None:
            # By its bare name: nothing can be written elsewhere.
            yield os.path.basename(member.name), stream.read()


def read(path: Path) -> Bundle:
    """Read the manifest of a bundle. Raises UsageError where there is none."""
    try:
        manifest = BundleManifest.from_json(_manifest(path), "its manifest")
    except FileNotFoundError:
        raise UsageError(f"there is no bundle {path}", _HINT) from None
    except (OSError, EOFError, ValueError, Misfit, tarfile.TarError) as error:
        # tarfile lists every way of reading that it has tried.
        raise UsageError(f"{path} is not a bundle: {str(error).partition(chr(10))[0].rstrip(':')}", _HINT) from None
    return Bundle(path, manifest.platforms, manifest.pythons, manifest.members, manifest.jupyter, manifest.engines_only)


def _manifest(path: Path) -> bytes:
    if path.is_dir():
        return (path / MANIFEST).read_bytes()
    with tarfile.open(path) as archive:
        first = archive.next()
        stream = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
        if stream is None:
            raise ValueError("it holds no manifest")
        return stream.read()
