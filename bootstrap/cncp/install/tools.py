"""virtualenv and uv, by whatever this machine has: pip, venv's pip, virtualenv's pip, an index, a bundle."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cncp.attributes import SOURCE
from cncp.errors import CncpError
from cncp.files import read_bytes, write_atomic
from cncp.install import pipconf, wheels
from cncp.run import CommandError, run

LOCK = SOURCE / "bootstrap" / "locks" / "bootstrap.txt"
_PIP = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]


def ensure(home: Path, python: str, environment: Mapping[str, str], offline: Path | None) -> Path:
    """Return the folder that holds virtualenv and, where there is a wheel of it, uv.

    Raises CncpError naming the operating system's package where nothing here can get them.
    """
    folder = home / "tools"
    stamp = folder / "cncp-lock"
    digest = hashlib.sha256(LOCK.read_bytes() + python.encode()).hexdigest().encode()
    if read_bytes(stamp) == digest:
        return folder
    building = Path(tempfile.mkdtemp(dir=home, prefix="tools."))
    try:
        if offline is not None:
            wheels.from_folder(LOCK, offline / "wheels", building)
        else:
            _fetch(building, python, environment)
        write_atomic(building / stamp.name, digest)
        shutil.rmtree(folder, ignore_errors=True)
        building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _fetch(target: Path, python: str, environment: Mapping[str, str]) -> None:
    failures: list[str] = []
    for pip in _pips(python, target):
        try:
            run([*pip, *_PIP, "--target", target, "-r", LOCK], env=_quiet(target), timeout=600)
            return
        except CommandError as error:
            failures.append(_reason(error))
    options = pipconf.read(environment)
    index = wheels.configured_index(options)
    if index is not None:
        wheels.from_index(LOCK, index, options.get("cert"), target)
        return
    if failures:
        raise CncpError(
            f"pip could not get virtualenv and uv: {failures[0]}",
            "check the network and pip's configuration, or use a bundle: --offline FILE",
        )
    raise CncpError(
        "this Python has neither pip nor venv nor virtualenv, and no index is configured",
        f"install one of the packages {_package_names()}, or use a bundle: --offline FILE",
    )


def _pips(python: str, target: Path) -> Iterator[list[str]]:
    """Yield the ways to run a pip here, the cheap ones first."""
    if _has(python, "pip"):
        yield [python, "-m", "pip"]
    scratch = target / "scratch"
    for maker in ("venv", "virtualenv"):
        needed = "ensurepip" if maker == "venv" else maker
        if _has(python, needed):
            made = run([python, "-m", maker, scratch], check=False, env=_quiet(target), timeout=300)
            if made.ok:
                yield [str(scratch / "bin" / "python"), "-m", "pip"]
            shutil.rmtree(scratch, ignore_errors=True)


def _has(python: str, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return run([python, "-c", code], check=False).ok


def _quiet(target: Path) -> dict[str, str]:
    """Keep caches inside our own folder: an uninstall leaves nothing elsewhere."""
    return {
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": os.environ.get("PIP_RETRIES", "2"),
        "VIRTUALENV_OVERRIDE_APP_DATA": str(target / "app-data"),
    }


def _reason(error: CommandError) -> str:
    lines = [line for line in error.result.stderr.splitlines() if line.startswith("ERROR")]
    return (lines or error.result.stderr.splitlines() or [error.message])[0].removeprefix("ERROR: ")


def _package_names() -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if Path("/etc/debian_version").exists():
        return f"python3-venv, python3-pip or python3-virtualenv (apt install python{version}-venv)"
    return "python3-pip or python3-virtualenv (dnf install python3-pip)"
