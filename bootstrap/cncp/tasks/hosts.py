"""hosts.*: anything on all hosts at once."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.config import selection
from cncp.config.inventory import HostSpec
from cncp.console import Console
from cncp.errors import UsageError
from cncp.fleet import adhoc as everywhere
from cncp.fleet import hardware_report as inspection
from cncp.ssh import transfer
from cncp.tasks.options import FILE, HOST_KEYS, JSON, is_strict
from cncp.tasks.task import command, remainder

_WHICH = {
    "hosts": "hosts and ranges with commas: gold[2-7],silver1; those of cluster.toml without",
    "limit": "of the hosts of cluster.toml, only these",
    **FILE,
    **HOST_KEYS,
    "timeout": "seconds that a host may take",
}
_FORCE = {"force": "replace what is there"}

DEFAULT_TIMEOUT = 3600
"""Seconds; a command may be a computation, a folder large."""


def _asked(
    hosts: str, limit: str, file: str | None, host_keys: str, timeout: float
) -> tuple[tuple[HostSpec, ...], bool, float]:
    """Return the hosts, whether unknown host keys are refused, and the time-out. Raises UsageError."""
    specs = selection.chosen(file, hosts, limit, os.environ, accounts.home(os.environ))
    return specs, is_strict(host_keys), seconds(timeout)


def seconds(timeout: float) -> float:
    """Check a number of seconds. Raises UsageError."""
    if not 1 <= timeout <= 7 * 86400:
        raise UsageError(f"--timeout {timeout:g} is not possible", "give a number of seconds from 1 to 604800")
    return timeout


@command({**_WHICH, **JSON}, rest="COMMAND...")
def run(
    context: Context,
    hosts: str = "",
    limit: str = "",
    file: str | None = None,
    host_keys: str = "accept-new",
    timeout: int = DEFAULT_TIMEOUT,
    json: bool = False,
) -> None:
    """Run a command on all hosts: hosts.run -- uname -a. A shell only if you say so: -- sh -c '...'."""
    console = Console()
    argv = remainder(sys.argv)
    if not argv or not argv[0]:
        raise UsageError("there is no command to run", "give it after two dashes: hosts.run -- uname -a")
    specs, strict, limited = _asked(hosts, limit, file, host_keys, timeout)
    outcome = everywhere.run_everywhere(specs, argv, limited, console, strict=strict, quiet=json)
    if json:
        console.data(
            {
                "failed": {name: error.message for name, error in outcome.failures.items()},
                "hosts": {name: asdict(ran) for name, ran in outcome.results.items()},
            }
        )
    everywhere.conclude(outcome.failures, len(specs), console)


@command(
    {**_WHICH, **_FORCE, "local": "file or folder here", "remote": "path there, from the home"},
    positional=["local", "remote"],
)
def put(
    context: Context,
    local: str,
    remote: str,
    hosts: str = "",
    limit: str = "",
    file: str | None = None,
    host_keys: str = "accept-new",
    timeout: int = DEFAULT_TIMEOUT,
    force: bool = False,
) -> None:
    """Copy a file or folder to all hosts; into REMOTE where that is a folder or ends with a slash."""
    console = Console()
    path, source = transfer.remote_path(remote), Path(local)
    specs, strict, limited = _asked(hosts, limit, file, host_keys, timeout)
    with transfer.packed(source) as archive:
        outcome = everywhere.everywhere(
            specs, lambda spec: transfer.put(spec, archive, source, path, limited, force=force), strict=strict
        )
    for name in outcome.results:
        console.say(f"[{name}] {remote!r}")
    everywhere.conclude(outcome.failures, len(specs), console)


@command(
    {**_WHICH, **_FORCE, "remote": "path there, from the home", "folder": "folder here"},
    positional=["remote", "folder"],
)
def get(
    context: Context,
    remote: str,
    folder: str,
    hosts: str = "",
    limit: str = "",
    file: str | None = None,
    host_keys: str = "accept-new",
    timeout: int = DEFAULT_TIMEOUT,
    force: bool = False,
) -> None:
    """Copy a file or folder from all hosts, to FOLDER/HOST/NAME."""
    console = Console()
    path, top = transfer.remote_path(remote), Path(folder)
    specs, strict, limited = _asked(hosts, limit, file, host_keys, timeout)
    places = {spec.name: top / spec.name / Path(path).name for spec in specs}
    taken = [str(placed) for placed in places.values() if os.path.lexists(placed)]
    if taken and not force:
        raise UsageError(f"{taken[0]!r} exists", "name another folder, or replace what is there with --force")
    outcome = everywhere.everywhere(
        specs, lambda spec: transfer.get(spec, path, places[spec.spec.name], limited, force=force), strict=strict
    )
    for name in outcome.results:
        console.say(f"[{name}] {str(places[name])!r}")
    everywhere.conclude(outcome.failures, len(specs), console)


@command({**_WHICH, **JSON, "cached": "show what was found the last time; ask no host", "csv": "print it as CSV"})
def facts(
    context: Context,
    hosts: str = "",
    limit: str = "",
    file: str | None = None,
    host_keys: str = "accept-new",
    timeout: int = 60,
    cached: bool = False,
    csv: bool = False,
    json: bool = False,
) -> None:
    """Show the hardware, systems and users of all hosts, and keep it as a file a host."""
    if csv and json:
        raise UsageError("command line: --csv and --json contradict each other", "choose one of them")
    console = Console()
    home = accounts.home(os.environ)
    specs, strict, limited = _asked(hosts, limit, file, host_keys, timeout)
    if cached:
        outcome = inspection.kept(home, specs)
    else:
        outcome = everywhere.everywhere(specs, lambda spec: inspection.look(spec, limited), strict=strict)
        inspection.keep(home, outcome.results)
    # In the order of the inventory, whoever answered first.
    found = {spec.name: outcome.results[spec.name] for spec in specs if spec.name in outcome.results}
    if json:
        console.data(found)
    elif csv:
        console.out.write(inspection.as_csv(found))
    elif found:
        console.table(inspection.HEADER, inspection.rows(found))
    everywhere.conclude(outcome.failures, len(specs), console)


__all__ = ["facts", "get", "put", "run"]
