"""The virtualenv: made, repaired or brought up to date, and only then stamped as whole."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cncp.config.sources import SOURCE
from cncp.errors import CncpError, UsageError
from cncp.files import lock, make_home, read_bytes, write_atomic
from cncp.install import bootstrap_tools, bundle_reader, packages, pip_config, preflight, source_code, wheels
from cncp.install.http import NotServed, Web
from cncp.install.simple_index import Index
from cncp.install.stamp import STAMP, Wanted, of_engines, stamp_path
from cncp.process import run
from cncp.surroundings import PYTHON

LOCK = SOURCE / "bootstrap" / "locks" / "compute.txt"
JUPYTER = LOCK.with_name("jupyter.txt")
"""The lock of what Jupyter needs; where both name a package, they name the same version."""

NOT_FOR_ENGINES = ("debugpy", "jedi", "parso")
"""Packages of the lock that a machine with engines alone does without: a debugger, and what completes lines better."""

_RUN_VIRTUALENV = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('virtualenv', run_name='__main__', alter_sys=True)"
)
"""Not by PYTHONPATH, which an isolated Python leaves aside, and which cannot name a folder with a colon."""

Say = Callable[[str], None]
"""Tells the user what goes on."""


@dataclass(frozen=True)
class _Job:
    """One installation: where, with what, from where."""

    home: Path
    python: str
    wanted: Wanted
    kit: bootstrap_tools.Kit
    packages: packages.Packages
    say: Say


def program(source: Path) -> Path:
    """Return the program that ``cncp`` is, in the code in ``source``."""
    return source / "bootstrap" / "cncp" / "__main__.py"


def ensure(
    home: Path,
    python: str,
    environment: Mapping[str, str],
    *,
    requirements: str,
    jupyter: bool,
    engines_alone: bool,
    offline: Path | None,
    say: Say,
    keep: source_code.Code | None = None,
    before: Callable[[bool], None] = lambda _: None,
) -> bool:
    """Bring the virtualenv in ``home`` to what is wanted; return whether there was anything to do.

    ``requirements`` is the setting: "none", an absolute path or a URL; ``jupyter`` is the other one. Where
    ``engines_alone`` run, and nothing of the user's is added, what they do without is left out.
    ``offline`` is a bundle, the only source then. ``keep`` is code to be kept in ``home`` and run from
    there; None leaves it where it runs from. ``before`` is called before anything is changed that
    services depend on, and told whether engines are among them; it raises where that cannot be. Raises
    UsageError and PreflightError before anything is changed, CncpError when packages cannot be had.
    """
    bundle = bundle_reader.read(offline) if offline else None
    options = {} if bundle else pip_config.read(environment)
    web = Web(options, environment)
    user = _requirements(requirements, home, web, say)
    lean = engines_alone and not jupyter and user is None
    wanted = Wanted(
        lock=_digest(lean=lean),
        jupyter=hashlib.sha256(JUPYTER.read_bytes()).hexdigest() if jupyter else "",
        python=os.path.realpath(python),
        source=str(source_code.kept(home) if keep else SOURCE),
        requirements=hashlib.sha256(user).hexdigest() if user is not None else "",
        requirements_from=requirements,
    )
    if _whole(home, wanted):
        if keep and keep.bring(home):
            say("the code that the cluster keeps has changed")
        return False
    target = wheels.here(preflight.check(home, python))
    if bundle:
        bundle.check(target, jupyter=jupyter, engines_alone=lean)
    stamped = STAMP.intact(home)
    if stamped is not None and stamped != wanted:
        before(of_engines(stamped) != of_engines(wanted))
    make_home(home)
    with lock(home / "install.lock", "the installation", wait=0):
        if keep:
            keep.bring(home)
        if _whole(home, wanted):
            return True
        for leftover in (*home.glob("tools.*"), *home.glob("bundle.*"), *home.glob("bundle")):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=home, prefix="bundle.") as scratch:
            folder = bundle.unpack(Path(scratch), target) if bundle else None
            sources = packages.Sources(options, environment, folder)
            file = None if user is None else _file(requirements, user, Path(scratch))
            say("getting virtualenv and uv")
            kit = bootstrap_tools.ensure(home, python, target, Index(options, web), folder)
            locks = (LOCK, JUPYTER) if jupyter else (_lean(Path(scratch), target) if lean else LOCK,)
            holding = packages.Packages(home, locks, file, target, sources)
            _install(_Job(home, python, wanted, kit, holding, say))
        _keep(home, requirements, user)
    return True


def _digest(*, lean: bool) -> str:
    """Return what tells locks apart, ``lean`` the one without what engines do without."""
    less = " ".join(NOT_FOR_ENGINES).encode() if lean else b""
    return hashlib.sha256(LOCK.read_bytes() + less).hexdigest()


def _lean(folder: Path, target: wheels.Target) -> Path:
    """Write the lock without what engines do without; return where it is."""
    path = folder / "engines.txt"
    locked = wheels.read_lock(LOCK, target.environment)
    path.write_text("".join(f"{package.line()}\n" for package in locked if package.name not in NOT_FOR_ENGINES))
    return path


def _whole(home: Path, wanted: Wanted) -> bool:
    """Tell whether all that is wanted is there.

    Jupyter's packages that are no longer wanted stay until something else changes: engines may have
    loaded some of them, and they are soon switched on again. So do those that engines alone do without.
    """
    stamped = STAMP.intact(home)
    if stamped and not wanted.jupyter:
        stamped = replace(stamped, jupyter="")
    if stamped and stamped.lock == _digest(lean=False):
        stamped = replace(stamped, lock=wanted.lock if wanted.lock == _digest(lean=True) else stamped.lock)
    return stamped == wanted and _sound(home / "venv")


def _sound(venv: Path) -> bool:
    """Tell whether the Python of a virtualenv runs, and nothing that was installed is gone."""
    return os.access(venv / "bin" / "python", os.X_OK) and not lacking(venv)


def lacking(venv: Path) -> list[str]:
    """Return packages and modules that were installed into a virtualenv and are no longer there.

    Only what stands at the top of site-packages is looked for: of every package there is a file list,
    but to look for each of its thousands of files takes seconds on a shared home.
    """
    try:
        folder = next((venv / "lib").glob("python3*/site-packages"))
        there = set(os.listdir(folder))
        lists = [
            (folder / name / "RECORD").read_text(encoding="utf-8") for name in there if name.endswith(".dist-info")
        ]
    except (OSError, StopIteration, ValueError):
        return ["site-packages"]
    named = {
        line.partition("/")[0] if "/" in line else line.partition(",")[0]
        for listing in lists
        for line in listing.splitlines()
    }
    return sorted(name.strip('"') for name in named if name not in there and not name.startswith(("..", "__pycache__")))


def _install(job: _Job) -> None:
    venv, stamp = job.home / "venv", stamp_path(job.home)
    former = STAMP.intact(job.home)
    new = former is None or former.python != job.wanted.python or not os.access(venv / "bin" / "python", os.X_OK)
    damaged = not new and bool(lacking(venv))
    if new:
        _make(job)
    uv = job.kit.uv()
    if uv is not None and not new and not damaged:
        # What does not go together leaves a running cluster its virtualenv as it is.
        try:
            job.packages.rehearse(uv)
        except packages.Broken:
            uv = None
    if uv is None and not new:
        _make(job)
    extra = [" with Jupyter"] if job.wanted.jupyter else []
    extra += [f" and {job.wanted.requirements_from}"] if job.packages.user else []
    job.say(f"installing the locked packages{''.join(extra)}")
    # From here on nobody takes it for whole, however this ends.
    stamp.unlink(missing_ok=True)
    try:
        job.packages.install(uv, anew=damaged)
    except packages.Broken as error:
        job.say(f"{error.message}; pip does without it, more slowly")
        _make(job)
        job.packages.install(None)
    folder = next((venv / "lib").glob("python3*")) / "site-packages"
    write_atomic(folder / "cncp.pth", _on_path(Path(job.wanted.source) / "bootstrap"))
    write_atomic(venv / "bin" / "cncp", _command(job.home, venv, program(Path(job.wanted.source))).encode(), 0o755)
    STAMP.save(job.home, job.wanted)


def _command(home: Path, venv: Path, main: Path) -> str:
    """Return the ``cncp`` of the virtualenv itself, for machines where nothing is to run, and for `cncp shell`."""
    return (
        "#!/bin/sh\n"
        "# cncp, with the Python of this virtualenv.\n"
        f"CNCP_HOME={shlex.quote(str(home))}\n"
        "export CNCP_HOME\n"
        f'exec {shlex.quote(str(venv / "bin" / "python"))} {" ".join(PYTHON)} -S {shlex.quote(str(main))} "$@"\n'
    )


def _on_path(folder: Path) -> bytes:
    """Return a .pth file that adds a folder: Python reads it in the encoding of whatever locale it is started in."""
    return f"import sys; sys.path.extend({{{str(folder)!a}}}.difference(sys.path))\n".encode("ascii")


def _make(job: _Job) -> None:
    """Make the virtualenv anew: what is there was made half, or with a Python that is gone."""
    job.say(f"making a virtualenv with {job.wanted.python}")
    venv = job.home / "venv"
    stamp_path(job.home).unlink(missing_ok=True)
    shutil.rmtree(venv, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=job.home, prefix="tools.") as scratch:
        # A store of virtualenv's own that was cut off would be taken for whole: a new one each time.
        settings = {"VIRTUALENV_CONFIG_FILE": os.devnull, "VIRTUALENV_OVERRIDE_APP_DATA": scratch}
        # setuptools would be imported, by its .pth file, at every start of this Python.
        words = ["--quiet", "--no-periodic-update", "--no-download", "--no-setuptools"]
        run([job.python, *PYTHON, "-c", _RUN_VIRTUALENV, job.kit.folder, *words, venv], env=settings, timeout=300)


def _requirements(setting: str, home: Path, web: Web, say: Say) -> bytes | None:
    """Return the content of the user's own requirements, None where there are none."""
    if setting == "none":
        return None
    if not setting.startswith("https://"):
        try:
            return Path(setting).read_bytes()
        except OSError as error:
            why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            raise UsageError(
                f"the requirements file {setting} {why}", "name a readable one with --requirements"
            ) from None
    try:
        return web.get(setting, secure=True)
    except NotServed as error:
        known = read_bytes(_kept(home))
        former = STAMP.intact(home)
        if known is None or former is None or former.requirements_from != setting:
            raise CncpError(
                f"the requirements cannot be fetched: {error.message}", "check the URL and the network"
            ) from None
        say(f"{error.message}; going on with the requirements of the last run")
        return known


def _file(setting: str, content: bytes, scratch: Path) -> Path:
    """Return the file to install from: the user's own, because it may name others beside it."""
    if not setting.startswith("https://"):
        return Path(setting)
    write_atomic(scratch / "requirements.txt", content, 0o600)
    return scratch / "requirements.txt"


def _kept(home: Path) -> Path:
    return home / "requirements.txt"


def _keep(home: Path, setting: str, content: bytes | None) -> None:
    """Keep what came from a URL: a later run that cannot reach it goes on with that."""
    if content is not None and setting.startswith("https://"):
        write_atomic(_kept(home), content, 0o600)
    else:
        _kept(home).unlink(missing_ok=True)
