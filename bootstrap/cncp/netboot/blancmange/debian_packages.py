"""Debian's packages of which Blancmange is made: fetched by apt, each held against its SHA-256, and unpacked once."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.files import write_atomic
from cncp.install.bundle_reader import sha256
from cncp.process import CommandError, run

_HINT = "apt-get update, then see whether apt-cache policy names it; Blancmange is built on Debian"
_MERGED = ("bin", "lib", "lib64", "sbin")


@dataclass(frozen=True)
class Package:
    """A package as apt knows it: what it is held against, and recorded as."""

    name: str
    version: str
    sha256: str
    depends: str = ""


def get_packages(names: Iterable[str], kernel: str, cache: Path) -> list[tuple[Package, Path]]:
    """Return packages with their files, fetched where ``cache`` has not them yet; ``kernel`` stands for what it needs.

    What was used is recorded in ``cache`` as ``packages``, and nothing else is kept there. Raises CncpError.
    """
    image = re.search(r"linux-image-[0-9][^ ,(]*", _known([kernel])[0].depends)
    if image is None:
        raise CncpError(f"the package {kernel} needs no kernel's image", "name one such as linux-image-amd64")
    packages = _known([*dict.fromkeys((*names, image[0]))])
    cache.mkdir(parents=True, exist_ok=True)
    found = [(package, _fetched(package, cache)) for package in packages]
    for old in {*cache.glob("*.deb")}.difference(path for _, path in found):
        old.unlink()
    used = "".join(f"{package.sha256}  {package.name} {package.version}\n" for package in packages)
    write_atomic(cache / "packages", used.encode())
    return found


def _known(names: list[str]) -> list[Package]:
    """Return what apt would install of packages. Raises CncpError, naming those that it does not know."""
    shown = run(["apt-cache", "show", "--no-all-versions", *names], check=False, env={"LC_ALL": "C"}, hint=_HINT).stdout
    known = dict[str, Package]()
    for paragraph in shown.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|SHA256|Depends): (.*)$", paragraph, re.MULTILINE))
        if fields.keys() >= {"Package", "Version", "SHA256"}:
            package = Package(fields["Package"], fields["Version"], fields["SHA256"], fields.get("Depends", ""))
            known.setdefault(package.name, package)
    if missing := [name for name in names if name not in known]:
        raise CncpError(f"apt knows no package {', '.join(missing)}", _HINT)
    return [known[name] for name in names]


def _fetched(package: Package, cache: Path) -> Path:
    path = cache / f"{package.name}_{package.sha256}.deb"
    if path.is_file() and sha256(path) == package.sha256:
        return path
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        # As root apt would become a user who may not write there, and complain.
        try:
            argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{package.name}={package.version}"]
            run(argv, cwd=folder, hint=_HINT)
        except CommandError as error:
            raise CncpError(f"{package.name} cannot be fetched: {error}", error.hint) from None
        files = list(Path(folder).glob("*.deb"))
        if len(files) != 1 or sha256(files[0]) != package.sha256:
            raise CncpError(f"{package.name} is not what apt's index says: its SHA-256 is another", "apt-get update")
        files[0].replace(path)
    return path


def unpacked(packages: Iterable[tuple[Package, Path]], cache: Path) -> Path:
    """Return a folder with the files of all packages, unpacked once, in which /bin is /usr/bin. Raises CncpError."""
    found = list(packages)
    digest = hashlib.sha256("".join(package.sha256 for package, _ in found).encode()).hexdigest()
    folder = cache / f"tree-{digest[:16]}"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        tree = Path(temporary) / "tree"
        for _, path in found:
            run(["dpkg-deb", "--extract", path, tree], hint="see whether the disk is full")
        for name in _MERGED:
            _merge(tree / name, tree / "usr" / name)
        for old in cache.glob("tree-*"):
            shutil.rmtree(old)
        tree.rename(folder)
    return folder


def _merge(folder: Path, there: Path) -> None:
    """Move all that is in a folder, and have a link be in its place."""
    if folder.is_dir():
        shutil.copytree(folder, there, symlinks=True, dirs_exist_ok=True, copy_function=os.replace)
        shutil.rmtree(folder)
    folder.symlink_to(there.relative_to(folder.parent))
