"""From a bare Python to a running `cncp up`: check, install, hand over.

Constraints: the standard library alone (it runs before there is a virtualenv; a test imports it
with ``python3 -S -I``), Python 3.10 or newer, no change before every input has been checked.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cncp import attributes
from cncp.cluster import SETTINGS
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.files import make_home
from cncp.install import environment
from cncp.machine import place

HANDED_OVER = ("file", "json", "quiet", "forget")
"""Options that `cncp up` has as well; the rest concerns the installation alone."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"command line: {message}", "see all options: bash ./baremetal.sh --help")


def parser() -> argparse.ArgumentParser:
    """Return the parser of baremetal.sh's options: the settings, and what concerns the installation."""
    made = _Parser(prog="baremetal.sh", allow_abbrev=False, add_help=False)
    made.add_argument("--file", metavar="FILE")
    made.add_argument("--offline", metavar="FILE")
    made.add_argument("--python", metavar="PATH")
    for switch in ("--json", "--quiet", "--forget", "--install-only"):
        made.add_argument(switch, action="store_true")
    for setting in SETTINGS:
        made.add_argument(setting.flag, dest=setting.key, metavar=setting.values)
    return made


def main(argv: Sequence[str], variables: Mapping[str, str]) -> int:
    """Do all of it; return the exit code, or do not return because `cncp up` has taken over."""
    console = Console()
    try:
        given = parser().parse_args(argv)
        console.quiet = given.quiet
        flags = {one.key: getattr(given, one.key) for one in SETTINGS if getattr(given, one.key) is not None}
        account = place.account(variables)
        home = place.home_folder(variables, account)
        former = attributes.Kept({}) if given.forget else attributes.kept(home)
        file = attributes.find_file(given.file, variables, former, Path.cwd())
        settings = attributes.gather(file=file, environment=variables, flags=flags, former=former)
        python = given.python or variables.get("CNCP_PYTHON") or sys.executable
        bundle = given.offline or variables.get("CNCP_OFFLINE")
        with_rights_of(
            account,
            lambda: install(home, python, settings.requirements, Path(bundle) if bundle else None, console),
        )
    except CncpError as error:
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if given.install_only:
        return 0
    words = [word for key in HANDED_OVER if (word := _option(key, getattr(given, key)))]
    words += [f"{setting.flag}={flags[setting.key]}" for setting in SETTINGS if setting.key in flags]
    venv_python = str(home / "venv" / "bin" / "python")
    # The time the user sees began when the user began to wait.
    began = variables.get("CNCP_BEGAN", "")
    os.environ.update({"CNCP_HOME": str(home), **({"CNCP_BEGAN": began} if began else {})})
    return os.execv(venv_python, [venv_python, "-s", "-m", "cncp", "up", *words])


def _option(key: str, value: object) -> str:
    if value in (None, False):
        return ""
    return f"--{key}" if value is True else f"--{key}={value}"


def install(home: Path, python: str, requirements: str, bundle: Path | None, console: Console) -> None:
    """Bring the virtualenv to what is wanted. ``bundle`` is a file of `invoke bundle.make`."""
    offline = unpack(bundle, home) if bundle else None
    began = console.elapsed()
    changed = environment.ensure(
        home, python, os.environ, requirements=requirements, offline=offline, say=console.phase
    )
    if changed:
        console.note(f"installed in {console.elapsed() - began:.1f} s: {home / 'venv'}")


def unpack(bundle: Path, home: Path) -> Path:
    """Unpack the wheels of a bundle below ``home`` and return the folder that holds them."""
    if bundle.is_dir():
        return bundle
    target = home / "bundle"
    try:
        with tarfile.open(bundle) as archive:
            wheels = [one for one in archive if one.isfile() and one.name.startswith("wheels/")]
            if not wheels:
                raise tarfile.ReadError("it holds no wheels")
            make_home(home)
            for wheel in wheels:
                # Only what lies in wheels/, by its bare name: nothing can be written elsewhere.
                wheel.name = f"wheels/{os.path.basename(wheel.name)}"
                if not (target / wheel.name).exists() or (target / wheel.name).stat().st_size != wheel.size:
                    archive.extract(wheel, target)
    except (OSError, tarfile.TarError) as error:
        raise UsageError(
            f"{bundle} is not a bundle: {error}", "make one with: invoke bundle.make, and name that file"
        ) from None
    return target


def with_rights_of(account: place.Account, work: environment.Work) -> None:
    """Do ``work`` as the login user: where root acts for one, in a child that has dropped root."""
    if os.geteuid() != 0 or account.uid == 0:
        work()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.initgroups(account.name, account.gid)
            os.setgid(account.gid)
            os.setuid(account.uid)
            os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
            work()
            code = 0
        except CncpError as error:
            Console().error(error)
            code = error.exit_code
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
