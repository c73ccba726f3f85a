"""Converging with Chef: cinc-solo or chef-solo runs the project's cookbook on this machine.

Everything Chef keeps is in one folder below CNCP_HOME and is removed after the run; what stays is
what it was given (solo.rb, attributes.json) and what it said (chef.log, report.json).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cncp.config.sources import SOURCE, STATIC
from cncp.errors import CncpError
from cncp.files import read_record, to_json
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.process import Completed, run
from cncp.records import Record

_PROGRAMS = ("cinc-solo", "chef-solo")
_FOLDERS = ("/opt/cinc/bin", "/opt/chef/bin")
_NO_LICENCE = 172
"""What Chef's own builds exit with where their licence was not accepted."""

_TIMEOUT = 900.0


class LicenceError(CncpError):
    """Chef runs here only for those who accept its licence, and nobody has."""


@dataclass(frozen=True)
class Update:
    """What Chef did to one resource, or in a dry run would do, in Chef's own lines."""

    resource: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Report(Record):
    """What cookbooks/cncp/files/chef/report.rb writes of a run."""

    success: bool = False
    error: str | None = None
    updated: tuple[Update, ...] = ()


def find() -> Path | None:
    """Return cinc-solo or chef-solo, on PATH or where their packages put them."""
    for path in (os.environ.get("PATH", os.defpath), os.pathsep.join(_FOLDERS)):
        for program in _PROGRAMS:
            found = shutil.which(program, path=path)
            if found:
                return Path(found)
    return None


def converge(node: Node, program: Path, actor: Actor) -> tuple[Update, ...]:
    """Have Chef install and start what the node is to hold; return what it changed.

    Raises CncpError with the message of the resource that failed, and LicenceError.
    """
    folder = Path(node.home) / "chef"
    actor.remove(folder / "state")
    if not folder.is_dir():
        actor.mkdir(folder, 0o700)
    try:
        return _run(node, program, folder, actor, ())
    finally:
        actor.remove(folder / "state")


def plan(node: Node, program: Path, actor: Actor) -> tuple[Update, ...]:
    """Return what Chef would change, with its diffs. Changes nothing, here or in CNCP_HOME."""
    with tempfile.TemporaryDirectory(prefix="cncp-chef.") as folder:
        return _run(node, program, Path(folder), actor, ("--why-run",))


def attributes(node: Node) -> dict[str, object]:
    """Return the node attributes for Chef: every choice is made, so that it makes none again."""
    return {
        "cncp": {
            **asdict(node.settings),
            "home": node.home,
            "machine": node.to_json(),
            # What the embedded engine does not install, and uninstall could not take back.
            "packages": False,
            # Where programs are looked for is this run's, not what Chef makes for itself. Services have the login's.
            "path": os.environ.get("PATH", os.defpath),
            "source": node.source,
            "timeout": 0,
            "user": node.account.name,
        }
    }


def configuration(folder: Path) -> str:
    """Return the solo.rb of a run that keeps everything in ``folder``."""
    state = folder / "state"
    values: Mapping[str, str | int | bool] = {
        "cookbook_path": str(SOURCE / "cookbooks"),
        "role_path": str(SOURCE / "roles"),
        "cache_path": str(state),
        "file_cache_path": str(state / "cache"),
        "file_backup_path": str(state / "backup"),
        "checksum_path": str(state / "checksums"),
        "node_path": str(state / "nodes"),
        "chef_guid_path": str(state / "guid"),
        "lockfile": str(state / "lock"),
        "solo_d_dir": str(state / "solo.d"),
        "run_lock_timeout": 0,
        "minimal_ohai": True,
        "node_name": "cncp",
    }
    lines = [f"{name} {_ruby(value)}" for name, value in values.items()]
    lines += [
        "log_level :warn",
        "log_location STDOUT",
        f"require {_ruby(str(STATIC / 'chef' / 'report.rb'))}",
        # Assigned, because Chef reads this file twice.
        f"event_handlers [Cncp::Report.new({_ruby(str(folder / 'report.json'))})]",
    ]
    # Ruby reads a file by the locale, in which a path may have no letters; only its first line says otherwise.
    first = ("# encoding: utf-8", "# Rendered by cncp; written again by every run of Chef.")
    return "\n".join((*first, *lines)) + "\n"


def _ruby(value: str | int | bool) -> str:
    r"""Write a value as Ruby does: in single quotes nothing but \\ and ' has a meaning."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _run(node: Node, program: Path, folder: Path, actor: Actor, options: tuple[str, ...]) -> tuple[Update, ...]:
    """Run Chef as the account, never as root for it: units of the system are a step that the cookbook asks for."""
    report = folder / "report.json"
    actor.write(folder / "solo.rb", configuration(folder).encode(), 0o600)
    actor.write(folder / "attributes.json", to_json(attributes(node)), 0o600)
    actor.write(report, b"", 0o600)
    argv = [
        str(program),
        *("-c", str(folder / "solo.rb"), "-j", str(folder / "attributes.json")),
        # An override run list, so that no attribute of this run outlives it.
        *("-o", f"role[{node.settings.role}]", "-F", "null", "--no-color"),
        *options,
    ]
    done = run(argv, check=False, cwd="/", timeout=_TIMEOUT)
    log = folder / "chef.log"
    actor.write(log, (done.stdout + done.stderr).encode(), 0o600)
    return _updates(read_record(report, Report), done, log)


def _updates(report: Report | None, done: Completed, log: Path) -> tuple[Update, ...]:
    if done.status == _NO_LICENCE:
        raise LicenceError(
            f"{done.argv[0]} runs only once its licence is accepted",
            "accept it by hand if you do, install Cinc instead, or use --converge embedded",
        )
    if not done.ok or report is None or not report.success:
        raise CncpError(f"Chef failed: {(report.error if report else '') or _said(done)}", f"look at {log}")
    return report.updated


def _said(done: Completed) -> str:
    """Return why a run of Chef ended that wrote no report: its log says so; stderr also holds Ruby's warnings."""
    fatal = [line.partition("FATAL: ")[2] for line in done.stdout.splitlines() if "FATAL: " in line]
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return next((line for line in reversed((*lines, *fatal)) if line), f"it exited with {done.status}")
