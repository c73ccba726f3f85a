"""Locks and wheels: what is locked, which wheel runs where, and how one is unpacked without pip."""

from __future__ import annotations

import hashlib
import io
import itertools
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.install import markers

_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
"""glibc versions of platform tags from before PEP 600."""


@dataclass(frozen=True)
class Locked:
    """A line of a lock: name, version and the SHA-256 of every file that may stand for it."""

    name: str
    version: str
    hashes: frozenset[str]

    def line(self) -> str:
        """Return the requirement as pip reads it, its marker having been decided."""
        return " ".join(
            [f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in sorted(self.hashes))]
        )

    def is_wheel(self, filename: str) -> bool:
        """Tell whether a file of this name is a wheel of this project and version."""
        parts = filename.split("-")
        named = filename.endswith(".whl") and len(parts) >= 5
        return named and normal(parts[0]) == normal(self.name) and parts[1] == self.version


@dataclass(frozen=True)
class Target:
    """What a wheel is to run on: a CPython of a version, a processor, a C library of a version."""

    python: tuple[int, int]
    machine: str
    libc: str
    libc_version: tuple[int, int]

    @property
    def platform(self) -> str:
        """The name of the platform as wheels have it: manylinux_2_28_x86_64."""
        family = "manylinux" if self.libc == "glibc" else "musllinux"
        return f"{family}_{self.libc_version[0]}_{self.libc_version[1]}_{self.machine}"

    @property
    def environment(self) -> dict[str, str]:
        """The values of its environment markers."""
        return markers.of(self.python, self.machine)

    def __str__(self) -> str:
        return f"Python {self.python[0]}.{self.python[1]} on {self.platform}"


def here(python: tuple[int, int] | None = None) -> Target:
    """Return the target that this machine is, with this Python or one of another version."""
    name, version = platform.libc_ver()
    found = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if name == "glibc" and len(found) == 2:
        libc = found
    else:
        # musl does not say its version cheaply; wheels are built for 1.1 and 1.2.
        name, libc = "musl", (1, 2)
    return Target(python or sys.version_info[:2], platform.machine(), name, (libc[0], libc[1]))


def normal(name: str) -> str:
    """Return the name of a project in the one form that package indexes use (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path, environment: Mapping[str, str]) -> list[Locked]:
    """Return the requirements of a lock that hold in an environment (see `markers`)."""
    found = []
    for entry in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;(.*?))?(?=\s--hash=|$)", entry)
        if match and (not match[3] or markers.holds(match[3], environment)):
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
            found.append(Locked(match[1], match[2], hashes))
    return found


def fits(filename: str, target: Target) -> bool:
    """Tell whether a wheel runs on a target, by its name (PEP 425, 600 and 656)."""
    tags = (part.split(".") for part in filename.removesuffix(".whl").split("-")[-3:])
    return any(
        _python_fits(python, abi, target) and _platform_fits(platform, abi, target)
        for python, abi, platform in itertools.product(*tags)
    )


def _python_fits(tag: str, abi: str, target: Target) -> bool:
    match = re.fullmatch(r"(py|cp)(\d)(\d*)", tag)
    if match is None:
        return False
    version = (int(match[2]), int(match[3] or 0))
    if abi == "none":
        older = version[0] == target.python[0] and version <= target.python
        return older if match[1] == "py" else version == target.python
    if abi == "abi3":
        return version[0] == target.python[0] and version <= target.python
    return abi == tag == f"cp{target.python[0]}{target.python[1]}"


def _platform_fits(tag: str, abi: str, target: Target) -> bool:
    if tag == "any":
        # Nothing that is compiled runs everywhere, whatever its name says.
        return abi == "none"
    if tag == f"linux_{target.machine}":
        return True
    family, _, rest = tag.partition("_")
    if family in _LEGACY:
        return target.libc == "glibc" and rest == target.machine and _LEGACY[family] <= target.libc_version
    match = re.fullmatch(r"(many|musl)linux_(\d+)_(\d+)_(\w+)", tag)
    if match is None or match[4] != target.machine:
        return False
    libc = "glibc" if match[1] == "many" else "musl"
    return libc == target.libc and (int(match[2]), int(match[3])) <= target.libc_version


def choose(names: Iterable[str], target: Target) -> list[str]:
    """Return the wheels that run on a target, those made most closely for it first."""

    def closeness(name: str) -> tuple[bool, bool, str]:
        return name.endswith("-any.whl"), "-abi3-" in name, name

    return sorted((name for name in names if fits(name, target)), key=closeness)


def from_folder(locked: Locked, folder: Path, target: Target) -> Path | None:
    """Return the wheel of a requirement in ``folder``, None where there is none for ``target``."""
    names = choose((path.name for path in folder.glob("*.whl") if locked.is_wheel(path.name)), target)
    return folder / names[0] if names else None


def check(content: bytes, locked: Locked, name: str) -> None:
    """Raise CncpError unless ``content`` is one of the files that the lock names."""
    if hashlib.sha256(content).hexdigest() not in locked.hashes:
        raise CncpError(f"{name} is not the file that the lock names", "get it again from a source you trust")


def unpack(content: bytes, target: Path) -> None:
    """Unpack a wheel so that it can be imported with ``target`` on the path; programs go to bin/."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(target)
        scripts = {name.split("/")[0] for name in archive.namelist() if ".data/scripts/" in name}
    for folder in scripts:
        (target / "bin").mkdir(exist_ok=True)
        for script in (target / folder / "scripts").iterdir():
            shutil.move(script, target / "bin" / script.name)
            (target / "bin" / script.name).chmod(0o755)
