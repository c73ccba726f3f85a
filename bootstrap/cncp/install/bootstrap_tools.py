"""virtualenv and uv, by whatever this machine has: an index, pip, venv's pip, virtualenv's, a bundle."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cncp.config.sources import SOURCE
from cncp.errors import CncpError
from cncp.files import read_bytes, write_atomic
from cncp.install import http, pip_config, wheels
from cncp.install.simple_index import Index, NoWheel
from cncp.install.wheels import Locked, Target
from cncp.process import CommandError, run
from cncp.surroundings import PYTHON

LOCK = SOURCE / "bootstrap" / "locks" / "bootstrap.txt"
_PIP = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]


class Kit:
    """The folder with virtualenv, ready to run, and uv, which may still be on its way."""

    def __init__(self, folder: Path, arriving: Future[bool], digest: bytes) -> None:
        self.folder = folder
        self._arriving = arriving
        self._digest = digest

    def uv(self) -> Path | None:
        """Wait for uv and return it; None where there is no wheel of it for this machine."""
        try:
            settled = self._arriving.result()
        except CncpError:
            # pip does its work, slowly; the next installation tries again.
            settled = False
        if settled:
            # Last of all: a kit that was cut off has no stamp, and is made anew.
            write_atomic(self.folder / "cncp-lock", self._digest)
        path = self.folder / "bin" / "uv"
        return path if path.exists() else None


def ensure(home: Path, python: str, target: Target, index: Index, offline: Path | None) -> Kit:
    """Return the kit in ``home``, made anew where it is not what the lock says.

    ``offline`` is a folder of wheels to take instead of any index. Raises CncpError naming the
    operating system's package where nothing here can get virtualenv.
    """
    folder = home / "tools"
    digest = hashlib.sha256(LOCK.read_bytes() + str(target).encode()).hexdigest().encode()
    if read_bytes(folder / "cncp-lock") == digest:
        return Kit(folder, _done(True), digest)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    locked = wheels.read_lock(LOCK, target.environment)
    if offline is not None:
        for package in locked:
            wheel = wheels.from_folder(package, offline, target)
            if wheel is not None:
                _add(wheel.read_bytes(), package, wheel.name, folder)
            elif package.name != "uv":
                raise CncpError(
                    f"there is no wheel of {package.name} {package.version} for {target} in {offline}",
                    f"make the bundle for it: cncp bundle.make --platforms {target.platform}",
                )
        return Kit(folder, _done(True), digest)
    try:
        if index.empty:
            raise NoWheel("no index is configured", "configure one for pip, or use a bundle: --offline FILE")
        return Kit(folder, _by_index(folder, locked, target, index), digest)
    except CncpError as error:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _by_pip(folder, python, locked, error, pip_config.for_pip(index.options))
        return Kit(folder, _done(True), digest)


def _done(settled: bool) -> Future[bool]:
    future: Future[bool] = Future()
    future.set_result(settled)
    return future


def _add(content: bytes, locked: Locked, name: str, folder: Path) -> None:
    wheels.check(content, locked, name)
    wheels.unpack(content, folder)


def _by_index(folder: Path, locked: Sequence[Locked], target: Target, index: Index) -> Future[bool]:
    """Fetch all at the same time, without pip, whose start and one-by-one fetching take seconds.

    Return when virtualenv is there; uv, ten times as big, may come while virtualenv works. The
    future it returns is True when uv is there or is not to be had.
    """

    def get(package: Locked) -> bool:
        try:
            name, content = index.fetch(package, target)
        except NoWheel:
            if package.name != "uv":
                raise
            return True
        _add(content, package, name, folder)
        return True

    # Four, because more of them do not get more out of one server.
    pool = ThreadPoolExecutor(4)
    big_first = sorted(locked, key=lambda package: package.name not in ("uv", "virtualenv"))
    futures = {package.name: pool.submit(get, package) for package in big_first}
    pool.shutdown(wait=False)
    try:
        for name, future in futures.items():
            if name != "uv":
                future.result()
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    return futures["uv"]


def _by_pip(
    folder: Path, python: str, locked: Sequence[Locked], index_error: CncpError, options: Mapping[str, str]
) -> None:
    """Have a pip fetch all, by whatever means only it knows (a keyring, say); uv only if it is to be had."""
    failures: list[CommandError] = []
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="tools.") as name:
        scratch = Path(name)
        for pip in _pips(python, scratch):
            try:
                _run_pip(pip, folder, scratch, locked, options)
                return
            except CommandError as error:
                failures.append(error)
    if failures:
        where = (
            "the network and pip's configuration"
            if http.unreachable(failures[0].result.stderr)
            else "pip's configuration"
        )
        raise CncpError(
            f"virtualenv and uv cannot be had: {_reason(failures[0])}",
            f"check {where}, or use a bundle: --offline FILE",
        )
    if isinstance(index_error, NoWheel):
        raise CncpError(
            f"this Python has neither pip nor venv nor virtualenv, and {index_error.message}",
            f"install one of the packages {_package_names()}, or use a bundle: --offline FILE",
        )
    raise index_error


def _run_pip(
    pip: Sequence[str], folder: Path, scratch: Path, locked: Sequence[Locked], options: Mapping[str, str]
) -> None:
    requirements = scratch / "kit.txt"
    words = [*pip, *_PIP, "--only-binary", ":all:", "--target", str(folder), "-r", str(requirements)]
    requirements.write_text("".join(f"{package.line()}\n" for package in locked))
    settings = {"PIP_RETRIES": "1", **options, **_quiet(scratch)}
    done = run(words, env=settings, cwd="/", timeout=600, check=False)
    if done.ok:
        return
    if "for uv" not in done.stderr:
        raise CommandError(done)
    requirements.write_text("".join(f"{package.line()}\n" for package in locked if package.name != "uv"))
    run(words, env=settings, cwd="/", timeout=600)


_PYTHON = ("-E",)
"""How a Python of the system is started to get a pip: unlike ours it may have one in the user's site folder."""


def _pips(python: str, scratch: Path) -> Iterator[list[str]]:
    """Yield the ways to run a pip here, the cheap ones first."""
    if _has(python, "pip"):
        yield [python, *_PYTHON, "-m", "pip"]
        return
    for maker, needed in (("venv", "ensurepip"), ("virtualenv", "virtualenv")):
        if _has(python, needed):
            words = [python, *_PYTHON, "-m", maker, str(scratch / maker)]
            if run(words, check=False, env=_quiet(scratch), cwd="/", timeout=300).ok:
                yield [str(scratch / maker / "bin" / "python"), *PYTHON, "-m", "pip"]


def _has(python: str, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    # From /, because the folder that -c and -m look in is the one somebody stands in.
    return run([python, *_PYTHON, "-c", code], check=False, cwd="/").ok


def _quiet(scratch: Path) -> dict[str, str]:
    """Keep caches inside our own folder: an uninstall leaves nothing elsewhere."""
    return {
        "PIP_NO_CACHE_DIR": "1",
        "VIRTUALENV_CONFIG_FILE": os.devnull,
        "VIRTUALENV_OVERRIDE_APP_DATA": str(scratch / "app-data"),
    }


def _reason(error: CommandError) -> str:
    lines = [line for line in error.result.stderr.splitlines() if line.startswith("ERROR")]
    return (lines or error.result.stderr.splitlines() or [error.message])[0].removeprefix("ERROR: ")


def _package_names() -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if Path("/etc/debian_version").exists():
        return f"python3-venv, python3-pip or python3-virtualenv (apt install python{version}-venv)"
    return "python3-pip or python3-virtualenv (dnf install python3-pip)"
