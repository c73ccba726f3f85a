"""Making a bundle: one file from which baremetal.sh installs on machines that reach nothing.

An uncompressed tar (wheels are compressed already): manifest.json, code/, wheels/. The same code,
lock and targets make the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cncp import __version__
from cncp.config.sources import SOURCE
from cncp.errors import CncpError, UsageError
from cncp.files import insist_on_file, to_json
from cncp.install import pip_config, wheels
from cncp.install.bundle_reader import MANIFEST
from cncp.install.environment import NOT_FOR_ENGINES
from cncp.install.http import Web
from cncp.install.simple_index import Index, NoWheel
from cncp.install.source_code import code, pack
from cncp.install.wheels import Locked, Target

LOCKS = tuple(SOURCE / "bootstrap" / "locks" / f"{name}.txt" for name in ("bootstrap", "compute"))
JUPYTER = LOCKS[0].with_name("jupyter.txt")

_WHEELS_NOT_FOR_ENGINES = (*NOT_FOR_ENGINES, "uv")
"""pip, which virtualenv brings, installs so few wheels as well."""

_CODE_NOT_FOR_ENGINES = (
    *(f"bootstrap/locks/{name}." for name in ("dev", "ec2", "jupyter", "openstack", "store")),
    *("cookbooks/cncp/documentation/", "cookbooks/cncp/spec/", "notebooks/"),
)
"""What begins so is read by no machine that only has engines. Our modules stay: verbs import each other's."""


def make(
    output: Path,
    platforms: str,
    pythons: str,
    environment: Mapping[str, str],
    *,
    jupyter: bool = False,
    engines_only: bool = False,
) -> list[str]:
    """Write a bundle, and return the names of its wheels.

    With ``jupyter`` it holds Jupyter as well, with ``engines_only`` not more than a machine with engines alone needs.
    ``platforms`` and ``pythons`` are lists with commas, "" meaning this machine's and this
    Python's. Raises UsageError, CncpError where a package has no wheel for a target.
    """
    wanted = targets(platforms, pythons)
    if jupyter and engines_only:
        raise UsageError("--jupyter and --engines-only exclude each other", "Jupyter runs beside the controller")
    if output.is_dir():
        raise UsageError(f"{output} is a folder", f"name a file in it: --output {output / 'cncp.tar'}")
    insist_on_file(output)
    options = pip_config.read(environment)
    locks = (*LOCKS, JUPYTER) if jupyter else LOCKS
    left_out = _WHEELS_NOT_FOR_ENGINES if engines_only else ()
    needed = {locked: asking for locked, asking in _needed(wanted, locks).items() if locked.name not in left_out}
    files = dict(_wheels(needed, Index(options, Web(options, environment))))
    members = {f"wheels/{name}": (content, 0o644) for name, content in files.items()}
    unread = _CODE_NOT_FOR_ENGINES if engines_only else ()
    members.update({f"code/{name}": entry for name, entry in code(SOURCE) if not name.startswith(unread)})
    manifest = {
        "cncp": __version__,
        "engines_only": engines_only,
        "jupyter": jupyter,
        "members": {name: hashlib.sha256(content).hexdigest() for name, (content, _) in members.items()},
        "platforms": sorted({target.platform for target in wanted}),
        "pythons": sorted({_dotted(target) for target in wanted}, key=_numbers),
    }
    try:
        _write(output, [(MANIFEST, to_json(manifest), 0o644), *((name, *members[name]) for name in sorted(members))])
    except OSError as error:
        raise CncpError(f"{output} cannot be written: {error.strerror}", "name another with --output") from None
    return sorted(files)


def for_engines(output: Path, machine: str, known: str, python: str, environment: Mapping[str, str]) -> None:
    """Write a bundle with what engines need, for any image of a kind of ``machine``, such as x86_64. Raises CncpError.

    Where an index lacks such wheels, as a mirror of what one machine fetched does, it is for the ``known`` platform.
    """
    try:
        make(output, machine, python, environment, engines_only=True)
    except CncpError:
        make(output, known, python, environment, engines_only=True)


def targets(platforms: str, pythons: str) -> list[Target]:
    """Return all pairs of platforms and Pythons. Raises UsageError."""
    here = wheels.here()
    found = []
    for version in pythons.split(",") if pythons else [_dotted(here)]:
        if not re.fullmatch(r"3\.[1-9][0-9]", version.strip()):
            raise UsageError(f"--pythons: {version!r} is not possible", "name versions from 3.10 on: 3.11,3.13")
        python = (3, int(version.strip()[2:]))
        for name in platforms.split(",") if platforms else [here.platform]:
            match = re.fullmatch(r"(?:(many|musl)linux_(\d+)_(\d+)_)?([a-z]\w+)", name.strip())
            if match is None or (match[1] is None and "linux" in match[4]):
                raise UsageError(
                    f"--platforms: {name!r} is not possible",
                    f"name them as wheels do: {here.platform}, or x86_64 for manylinux_2_28_x86_64",
                )
            libc = "musl" if match[1] == "musl" else "glibc"
            found.append(Target(python, match[4], libc, (int(match[2] or 2), int(match[3] or 28))))
    return sorted(set(found), key=lambda target: (target.python, target.platform))


def _dotted(target: Target) -> str:
    return f"{target.python[0]}.{target.python[1]}"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _wheels(needed: Mapping[Locked, Sequence[Target]], index: Index) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every wheel that an installation on one of the targets takes."""

    def fetch(locked: Locked) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for target in needed[locked]:
            if wheels.choose(found, target):
                continue
            try:
                name, content = index.fetch(locked, target)
                found[name] = content
            except NoWheel as error:
                # Without uv, pip installs.
                if locked.name != "uv":
                    raise CncpError(error.message, "leave that platform or Python out of the bundle") from None
        return found

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(fetch, needed):
            yield from found.items()


def _needed(wanted: Sequence[Target], locks: Sequence[Path]) -> dict[Locked, list[Target]]:
    """Return every requirement of the locks with the targets whose markers ask for it."""
    needed: dict[Locked, list[Target]] = {}
    for lock in locks:
        for target in wanted:
            for locked in wheels.read_lock(lock, target.environment):
                asking = needed.setdefault(locked, [])
                if target not in asking:
                    asking.append(target)
    return needed


def _write(output: Path, members: Sequence[tuple[str, bytes, int]]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with open(descriptor, "wb") as stream:
            pack(stream, members)
        os.chmod(beside, 0o644)
        os.replace(beside, output)
    except BaseException:
        os.unlink(beside)
        raise
