"""Verbs of a cluster that is wholly its controller's machine's: they are run there, with the file that is here.

So it is where pools are made and looked after by the controller's machine (``Pool.at_controller``), and the file names
another than this one. What is said there is said here, and the exit code is that of the verb.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from invoke.exceptions import Exit

from cncp import accounts
from cncp.config import sources
from cncp.config.asked import Request
from cncp.config.handed_file import FILES, handed
from cncp.config.inventory import Inventory
from cncp.config.parsers import Value
from cncp.console import Console
from cncp.errors import CncpError
from cncp.fleet import deploy, registry, rollout
from cncp.fleet.phases.connect import Connect
from cncp.fleet.phases.in_charge import Environment, Remember, ThisMachine
from cncp.fleet.phases.install import InstallController
from cncp.fleet.phases.record import Record
from cncp.fleet.phases.survey import Survey
from cncp.fleet.registry import Placed
from cncp.machine.ops import busy_engines
from cncp.ssh import stream
from cncp.ssh.connection import FOREVER, Host, Remote
from cncp.tasks import rollout_report as reports
from cncp.tasks.options import is_strict

_INSTALLING = (
    Environment(),
    ThisMachine(),
    Remember(early=True),
    Connect(),
    Survey(),
    Record(),
    InstallController(),
)


def up(
    asked: Request, cluster: Inventory, console: Console, words: Sequence[str], *, strict: bool, again: Sequence[str]
) -> None:
    """Install this code at the controller's machine, then have `up` do all else there. Raises CncpError, Exit.

    ``again`` is as for ``machine.ops.main.bring_environment``.
    """
    alone = replace(cluster, hosts=(), pools=())
    wanted = reports.fleet(asked, alone, limit="", strict=strict)
    rollout.up(asked, wanted, console, again, phases=_INSTALLING)
    run(asked, cluster, ["up", *words], settings=True, strict=strict)


def verb(
    name: str, given: Mapping[str, object], asked: Request, cluster: Inventory, *, settings: bool, host_keys: str
) -> None:
    """Run a verb there that was called here; ``given`` are its other arguments. Raises CncpError, Exit."""
    run(asked, cluster, [name, *options(given)], settings=settings, strict=is_strict(host_keys))


def uninstall(asked: Request, cluster: Inventory) -> None:
    """Have it end and take away all that it has made, if anything of ours is there. Raises CncpError, Exit."""
    if cluster.controller.name in registry.load(accounts.home(asked.environment)):
        run(asked, cluster, ["uninstall"])


def run(
    asked: Request, cluster: Inventory, words: Sequence[str], *, settings: bool = False, strict: bool = False
) -> None:
    """Run a command line of cncp there, with ``settings`` those that were said here as well.

    Raises CncpError where it cannot be asked, Exit as it exits.
    """
    head = cluster.controller
    placed = registry.load(accounts.home(asked.environment)).get(head.name)
    if placed is None:
        raise CncpError(f"nothing has been set up on {head.name} from here", "set it up: cncp up")
    assert asked.file is not None  # noqa: S101  # it names the cluster
    text = handed(asked.file)
    with Remote(head, strict=strict) as host:
        path = f"{placed.home}/handed/cluster.toml"
        host.put(text.encode(), path)
        said = _settings(asked, host, placed) if settings else []
        # What a command line says of busy engines wins there, as here.
        busy = [f"{name}={value}" for name, value in busy_engines.handed_on().items()]
        argv = ["env", *busy, *placed.own(*words, f"--file={path}", *said)]
        with stream.running(host, argv, FOREVER, err=_complain) as command:
            for line in command.output:
                print(line.decode(errors="replace").rstrip("\r\n"), flush=True)
    if command.status:
        # What is wrong has been said.
        raise Exit(code=command.status)


def _settings(asked: Request, host: Host, placed: Placed) -> list[str]:
    """Return as options what was said here beside the file; what was said there before is forgotten."""
    gather = functools.partial(
        sources.for_controller, environment=asked.environment, flags=asked.flags, former=asked.former
    )
    said, whole = gather(file=None), gather(file=asked.file)
    files: dict[str, Value] = {key: whole.get(key, "none") for key in FILES}
    return ["--forget", *deploy.flags(deploy.brought(host, {**said, **files}, placed.root))]


def options(given: Mapping[str, object]) -> list[str]:
    """Return arguments as the options of a command line; what is false is none, and a number or text as it is."""
    flags = {f"--{key.replace('_', '-')}": value for key, value in given.items() if value is not False}
    return [flag if value is True else f"{flag}={value}" for flag, value in flags.items()]


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
