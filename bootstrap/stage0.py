"""From a bare Python to a running `cncp up`: check, install, hand over.

Constraints: the standard library alone (it runs before there is a virtualenv; a test imports it
with ``python3 -S -I``), Python 3.10 or newer, no change before every input has been checked.
"""

from __future__ import annotations

import sys
from _signal import SIG_IGN, SIGINT, getsignal, signal  # type: ignore[import-not-found]  # built in
from posix import _exit, write

if __name__ == "__main__":
    # Before all else: a Ctrl-C may come at any moment. What this uses is built into Python.
    if getsignal(SIGINT) != SIG_IGN:
        signal(SIGINT, lambda number, _: (write(2, b"interrupted\n"), _exit(128 + number)))
    if sys.flags.no_site:
        import site

        site.main()

import os

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cncp import interrupted

if __name__ == "__main__":
    interrupted.while_importing(interrupted.INSTALLING)

try:
    import argparse
    import contextlib
    import difflib
    from collections.abc import Mapping, Sequence
    from dataclasses import dataclass
    from pathlib import Path
    from typing import NoReturn

    from cncp import accounts, command_log
    from cncp.config import sources
    from cncp.config.settings import FORMER_FLAGS, SETTINGS, Cluster
    from cncp.config.variables import switched
    from cncp.console import Console
    from cncp.errors import CncpError, UsageError
    from cncp.install import bundle_reader, bytecode, environment, preflight, source_code, stamp
    from cncp.machine import seeds
    from cncp.machine.ops import checks
    from cncp.process import run
    from cncp.rendezvous.documents import Seed
    from cncp.surroundings import PYTHON
except ImportError as lacking:
    # Distributions have a package of Python that leaves half of the standard library out.
    sys.stderr.write(f"error: this Python is not whole: {lacking}\nhint: install all of it (package python3)\n")
    sys.exit(4)

SWITCHES = ("json", "quiet", "verbose", "debug", "forget", "force", "install_only")
"""Options without a value; each is also a variable: CNCP_JSON=true."""

HANDED_OVER = ("file", "json", "quiet", "verbose", "debug", "forget", "wait", "force")
"""Options that `cncp up` has as well; the rest concerns the installation alone."""

_NOT_FOR_JOIN = ("file", "forget")
"""Those of them that `cncp join` has not: who joins is told all."""


_ASK = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    from cncp.machine.ops import main
except ImportError:
    sys.exit(0)
sys.exit(main.ask(sys.argv[2] == "engines"))
"""
"""Asked of this code, with the packages that are there, where they are whole."""

_LOSE = 10
"""What that exits with where the user said that tasks may be lost (``main.LOSE``)."""


class _Refused(Exception):
    """It cannot be, as was said; ``status`` is what to exit with."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        first = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        if first in FORMER_FLAGS:
            raise UsageError(f"command line: there is no {first}", f"it is {FORMER_FLAGS[first]} now")
        known = [flag for action in self._actions for flag in action.option_strings]
        close = difflib.get_close_matches(first, known, 1, 0.7) if first.startswith("--") else []
        hint = f"did you mean {close[0]}? All options: " if close else "see all options: "
        raise UsageError(f"command line: {message}", f"{hint}bash ./baremetal.sh --help")


def parser() -> argparse.ArgumentParser:
    """Return the parser of baremetal.sh's options: the settings, and what concerns the installation."""
    made = _Parser(prog="baremetal.sh", allow_abbrev=False, add_help=False)
    made.add_argument("--file", metavar="FILE")
    made.add_argument("--join", metavar="FILE|-")
    made.add_argument("--offline", metavar="FILE")
    made.add_argument("--offline-digest", metavar="SHA256")
    made.add_argument("--python", metavar="PATH")
    made.add_argument("--wait", metavar="SECONDS")
    for switch in SWITCHES:
        made.add_argument("--" + switch.replace("_", "-"), action="store_true")
    # For Chef, which compares the code that it was given with the code that runs.
    made.add_argument("--in-place", action="store_true")
    for setting in SETTINGS:
        made.add_argument(setting.flag, dest=setting.key, metavar=setting.values)
    return made


def parse(argv: Sequence[str], variables: Mapping[str, str]) -> argparse.Namespace:
    """Read the command line, and of the environment what is not a setting. Raises UsageError."""
    given = parser().parse_args(argv)
    for switch in SWITCHES:
        on = switched(variables, "CNCP_" + switch.upper())
        setattr(given, switch, getattr(given, switch) or on)
    named = given.python or variables.get("CNCP_PYTHON")
    given.python = preflight.executable(named) if named else sys.executable
    given.wait = given.wait or variables.get("CNCP_WAIT")
    if given.wait and not (given.wait.isascii() and given.wait.isdigit() and len(given.wait) <= 7):
        raise UsageError(f"command line: --wait {given.wait!r} is not possible", "give whole seconds, such as 600")
    if given.join and (given.install_only or given.file or given.role not in (None, "engine")):
        raise UsageError(
            "command line: --join with --install-only, --file or another role makes no sense",
            "who joins is told by the cluster what to be: leave those out",
        )
    given.offline = given.offline or variables.get("CNCP_OFFLINE")
    given.offline_digest = given.offline_digest or variables.get("CNCP_OFFLINE_DIGEST")
    return given


@dataclass(frozen=True)
class Wanted:
    """What is to be installed and handed over. ``flags`` are the settings that the command line named.

    ``idle`` is a machine that runs nothing itself and is in charge of others, ``seed`` what one joins with.
    """

    home: Path
    settings: Cluster
    flags: Mapping[str, str]
    idle: bool
    seed: Seed | None = None


def main(argv: Sequence[str], variables: Mapping[str, str]) -> int:
    """Do all of it; return the exit code, or do not return because `cncp up` has taken over."""
    os.umask(0o022 | os.umask(0o077))
    console = Console()
    interrupted.while_working()
    try:
        given = parse(argv, variables)
        console.quiet = given.quiet
        command_log.begin(accounts.home(variables), "baremetal.sh", debug=given.debug)
        wanted = gather(given, variables)
        check(given, wanted, variables)
        if wanted.seed:
            seeds.insist_on_answer(wanted.seed)
            seeds.keep(wanted.seed, wanted.home)
        here = given.in_place or switched(variables, "CNCP_HERE")
        keep = None if here else source_code.read(sources.SOURCE, wanted.home)
        installed = install(wanted, given, keep, console)
    except (CncpError, OSError) as error:
        return console.error(error)
    except _Refused as refused:
        return refused.status
    except (KeyboardInterrupt, interrupted.Ended) as error:
        return interrupted.exit_code(error, interrupted.INSTALLING)
    if given.install_only:
        if installed:
            program = wanted.home / "venv" / "bin" / "cncp"
            console.note(f"next: {program} keys.copy HOST, for a cluster elsewhere; up, for one here")
        return 0
    return hand_over(given, wanted, kept=keep is not None)


def gather(given: argparse.Namespace, variables: Mapping[str, str]) -> Wanted:
    """Put together what the command line, variables, cluster.toml and earlier runs say. Raises CncpError."""
    named = {setting.key: getattr(given, setting.key) for setting in SETTINGS}
    if given.join:
        named["role"] = "engine"
    flags = sources.with_paths({key: value for key, value in named.items() if value is not None}, Path.cwd())
    account = accounts.account(variables)
    home = accounts.home_folder(variables, account)
    preflight.names(home, account.home)
    seed = seeds.read(given.join, home) if given.join else None
    if seed:
        seeds.insist(seed, home)
    former = sources.Kept({}) if given.forget or seed else sources.kept(home)
    file = None if seed else sources.find_file(given.file, variables, former, Path.cwd())
    settings = sources.gather(file=file, environment=variables, flags=flags, former=former)
    hosts = sources.read(file)[1]
    return Wanted(home, settings, flags, idle=hosts is not None and not hosts.controller.local, seed=seed)


def check(given: argparse.Namespace, wanted: Wanted, variables: Mapping[str, str]) -> None:
    """Find what cannot be before anything is changed. Raises CncpError."""
    if given.offline:
        bundle_reader.read(Path(given.offline)).identify(given.offline_digest)
    if given.install_only:
        return
    if not wanted.idle:
        check_machine(wanted.settings, variables, wanted.home, given.python)
    if not stamp.stamp_path(wanted.home).exists():
        check_choices(wanted.settings, variables, wanted.home, idle=wanted.idle)


def hand_over(given: argparse.Namespace, wanted: Wanted, *, kept: bool) -> int:
    """Become `cncp up` or `join`, of the code that was ``kept`` in the home or else of this; does not return."""
    handed = [key for key in HANDED_OVER if not (wanted.seed and key in _NOT_FOR_JOIN)]
    words = [word for key in handed if (word := _option(key, getattr(given, key)))]
    words += [f"{setting.flag}={wanted.flags[setting.key]}" for setting in SETTINGS if setting.key in wanted.flags]
    venv_python = str(wanted.home / "venv" / "bin" / "python")
    os.environ["CNCP_HOME"] = str(wanted.home)
    verb = "join" if wanted.seed else "up"
    # It takes what has come in the meantime once it can say so.
    interrupted.hold()
    program = environment.program(source_code.kept(wanted.home) if kept else sources.SOURCE)
    return os.execv(venv_python, [venv_python, *PYTHON, "-S", str(program), verb, *words])


def check_machine(settings: Cluster, variables: Mapping[str, str], home: Path, python: str) -> None:
    """Hold the settings against this machine, with the rights of the account, before anything is installed."""
    account = accounts.account(variables)
    profile = accounts.ipython_folder(variables, account) / f"profile_{settings.profile}"
    controller = settings.role != "engine"
    folders = (home, profile)
    checks.insist(settings, controller=controller, folders=folders, python=python)


def check_choices(settings: Cluster, variables: Mapping[str, str], home: Path, *, idle: bool) -> None:
    """Make every choice as `cncp up` will, so that what cannot be is said before anything is installed.

    ``idle`` is a machine that runs nothing itself and is in charge of others.
    """
    from cncp.machine import added_packages, facts, node, services
    from cncp.machine.converge import engine_choice

    ipython_dir = accounts.ipython_folder(variables, accounts.account(variables))
    made = node.resolve(settings, facts.gather(variables), home=home, ipython_dir=ipython_dir, idle=idle)
    engine_choice.insist(made)
    ours = made.manager in services.MANAGERS.ours
    # One of another package comes with what is still to be installed.
    if ours or (settings.requirements == "none" and not added_packages.path(home).exists()):
        services.insist(made)
    node.check_profile(made)
    if not ours or services.manager_kind(made).of_login:
        preflight.limits(len(made.engine_ids) if made.services else 0, made.account.uid)


def _option(key: str, value: object) -> str:
    if value in (None, False):
        return ""
    return f"--{key}" if value is True else f"--{key}={value}"


def before_packages(home: Path, given: argparse.Namespace, *, engines: bool) -> None:
    """Ask as `cncp up` does before other packages take the place of those that services run with. Raises _Refused.

    Only the virtualenv that is there can ask for engines at work; a damaged one cannot, and is mended.
    """
    busy = {name: value for name, value in (("CNCP_WAIT", given.wait), ("CNCP_FORCE", given.force and "true")) if value}
    with contextlib.suppress(CncpError):
        python, here = str(home / "venv" / "bin" / "python"), os.path.dirname(os.path.abspath(__file__))
        argv = [python, *PYTHON, "-c", _ASK, here, "engines" if engines else ""]
        status = run(argv, env={"CNCP_HOME": str(home), **busy}, check=False, capture=False).status
        if status == _LOSE:
            given.force = True
        elif status > 0:
            raise _Refused(status)


def install(wanted: Wanted, given: argparse.Namespace, keep: source_code.Code | None, console: Console) -> bool:
    """Bring the virtualenv to what is wanted, from the network or from a bundle; tell whether that took anything."""
    home = wanted.home
    began = console.elapsed()
    # What is installed for later is for whatever comes then, if it is not said here.
    role = wanted.flags.get("role") if given.install_only else wanted.settings.role
    changed = environment.ensure(
        home,
        given.python,
        os.environ,
        requirements=wanted.settings.requirements,
        # It runs beside the controller.
        jupyter=wanted.settings.jupyter and not wanted.idle,
        engines_alone=role == "engine",
        offline=Path(given.offline) if given.offline else None,
        say=console.phase,
        keep=keep,
        before=lambda engines: before_packages(home, given, engines=engines),
    )
    if changed:
        console.note(f"installed in {console.elapsed() - began:.1f} s: {home / 'venv'}")
        # While `cncp up` goes on; where nothing comes after, nothing is left behind either.
        making = bytecode.make(home / "venv" / "bin" / "python")
        if given.install_only:
            making.wait()
    return changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
