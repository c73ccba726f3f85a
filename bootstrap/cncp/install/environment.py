"""The virtualenv: made, repaired or brought up to date, and only then stamped as whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.attributes import SOURCE
from cncp.errors import CncpError
from cncp.files import lock, make_home, read_bytes, read_json, to_json, write_atomic
from cncp.install import pipconf, preflight, tools
from cncp.run import CommandError, run

LOCK = SOURCE / "bootstrap" / "locks" / "compute.txt"

Say = Callable[[str], None]
"""Tells the user what goes on."""

Work = Callable[[], None]
"""Something to be done with other rights."""


@dataclass(frozen=True)
class Wanted:
    """What the virtualenv is to hold: everything its stamp is compared with."""

    lock: str
    python: str
    source: str
    requirements: str

    def document(self) -> dict[str, str]:
        """Return it as it is stamped."""
        return dict(vars(self))


def stamp_path(home: Path) -> Path:
    """Return the file that is there only when the virtualenv is whole."""
    return home / "venv" / "cncp-installed.json"


def ensure(
    home: Path, python: str, environment: Mapping[str, str], *, requirements: str, offline: Path | None, say: Say
) -> bool:
    """Bring the virtualenv in ``home`` to what is wanted; return whether there was anything to do.

    ``requirements`` is the setting: "none", a path or a URL. Raises PreflightError before
    anything is changed, CncpError when packages cannot be had.
    """
    extra = _requirements(requirements, home)
    wanted = Wanted(
        lock=hashlib.sha256(LOCK.read_bytes()).hexdigest(),
        python=os.path.realpath(python),
        source=str(SOURCE),
        requirements=hashlib.sha256(extra).hexdigest() if extra else "",
    )
    if _whole(home, wanted):
        return False
    preflight.check(home, python)
    make_home(home)
    with lock(home / "install.lock", "the installation", wait=0):
        if not _whole(home, wanted):
            _install(home, python, environment, wanted, extra, offline, say)
    return True


def _whole(home: Path, wanted: Wanted) -> bool:
    return read_json(stamp_path(home)) == wanted.document() and os.access(home / "venv/bin/python", os.X_OK)


def _install(
    home: Path,
    python: str,
    environment: Mapping[str, str],
    wanted: Wanted,
    extra: bytes,
    offline: Path | None,
    say: Say,
) -> None:
    venv = home / "venv"
    for leftover in home.glob("tools.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    former = read_json(stamp_path(home)) or {}
    stamp_path(home).unlink(missing_ok=True)
    say("getting virtualenv and uv")
    kit = tools.ensure(home, python, environment, offline)
    if former.get("python") != wanted.python or not os.access(venv / "bin" / "python", os.X_OK):
        say(f"making a virtualenv with {wanted.python}")
        # What is there was made half, or with a Python that is gone.
        shutil.rmtree(venv, ignore_errors=True)
        cache = {"PYTHONPATH": str(kit), "VIRTUALENV_OVERRIDE_APP_DATA": str(home / "cache" / "virtualenv")}
        run([python, "-m", "virtualenv", "--quiet", "--no-periodic-update", venv], env=cache, timeout=300)
    say("installing the locked packages")
    user = home / "requirements.txt"
    if extra:
        write_atomic(user, extra, 0o600)
    else:
        user.unlink(missing_ok=True)
    _install_packages(home, kit, environment, user if extra else None, offline)
    packages = next((venv / "lib").glob("python3*")) / "site-packages"
    write_atomic(packages / "cncp.pth", f"{SOURCE / 'bootstrap'}\n".encode())
    write_atomic(stamp_path(home), to_json(wanted.document()))


def _install_packages(
    home: Path, kit: Path, environment: Mapping[str, str], user: Path | None, offline: Path | None
) -> None:
    python = home / "venv" / "bin" / "python"
    # With requirements of the user's own, hashes are checked where there are any: in the lock.
    files = ["-r", str(LOCK), *(["-r", str(user)] if user else ["--require-hashes"])]
    uv = kit / "bin" / "uv"
    if uv.exists():
        options = pipconf.for_uv(pipconf.read(environment), environment)
        settings = {
            "UV_CACHE_DIR": environment.get("UV_CACHE_DIR") or str(home / "cache" / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            **({} if offline else options),
        }
        sources = ["--offline", "--no-index", "--find-links", str(offline / "wheels")] if offline else []
        argv = [str(uv), "pip", "install", "--quiet", "--exact", "--python", str(python), *sources, *files]
    else:
        settings = {"PIP_NO_CACHE_DIR": "1"}
        sources = ["--no-index", "--find-links", str(offline / "wheels")] if offline else []
        argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *sources, *files]
    try:
        run(argv, env=settings, timeout=1800)
    except CommandError as error:
        said = [line.strip(" \u00d7\u2570\u2500\u25b6\u2502") for line in error.result.stderr.strip().splitlines()]
        raise CncpError(
            f"the packages could not be installed: {' '.join(said)[:400]}",
            "check the requirements file" if user else "check the network, or use a bundle: --offline FILE",
        ) from None


def _requirements(setting: str, home: Path) -> bytes:
    """Return the content of the user's own requirements, b"" where there are none."""
    if setting == "none":
        return b""
    if not setting.startswith("https://"):
        content = read_bytes(Path(setting).expanduser())
        if content is None:
            raise CncpError(f"the requirements file {setting} does not exist", "name one that does with --requirements")
        return content
    try:
        with urllib.request.urlopen(setting, timeout=10, context=ssl.create_default_context()) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError) as error:
        known = read_bytes(home / "requirements.txt")
        if known is not None:
            return known
        raise CncpError(f"{setting} cannot be fetched: {error}", "check the URL and the network") from None
