"""The main job on one machine, from what a command line asks to what it leaves: virtualenv, cluster, what is kept.

    venv/bin/python -I -Xutf8 -m cncp.remote up [--engines=4 ...]

is that for a machine of another's cluster: the flags are those of ``cncp up``, all that was said
before is forgotten, and the report comes as JSON. It does without Invoke, whose imports and those of
all tasks take more processor time on a host than the job itself.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cncp import command_log, files
from cncp.accounts import home
from cncp.config.asked import Request, request
from cncp.config.settings import SETTINGS
from cncp.config.sources import INSTALLED, SOURCE
from cncp.console import Console, Stopwatch, answered
from cncp.errors import CncpError
from cncp.install import environment, source_code
from cncp.install.stamp import stamp_path
from cncp.machine.jupyter import service
from cncp.machine.node import Node
from cncp.machine.ops import busy_engines
from cncp.machine.ops.apply import MachineReport, Outcome, describe, report, require_root, up
from cncp.machine.ops.lifecycle import remember
from cncp.machine.ops.steps import former
from cncp.surroundings import PYTHON


def converge(asked: Request, console: Console, again: Sequence[str] | None = ()) -> tuple[Node, Outcome]:
    """Do the main job on this machine, and keep what the command line said. Raises CncpError.

    ``again`` is as for ``bring_environment``.
    """
    node = describe(asked)
    watch = Stopwatch(console)
    with watch.phase("environment"):
        bring_environment(node, console, again)
    console.note(f"service manager: {node.manager} ({node.why})")
    outcome = up(node, console, watch=watch)
    remember(node.account, Path(node.home), asked.former, asked.flags, asked.file)
    return node, outcome


def bring_environment(node: Node, console: Console, again: Sequence[str] | None = ()) -> None:
    """Install what this code's lock and the settings name; begin anew as a new process if that changed.

    ``again`` are the words of cncp that go on then: those of this process, where there are none. None has this
    process go on itself, which is another's program.
    """
    whole = stamp_path(Path(node.home))
    before = files.read_bytes(whole)
    bundle = os.environ.get("CNCP_OFFLINE")
    _install(node, Path(bundle) if bundle else None, console)
    # Another Python, which some package was installed into, has nothing of what has changed.
    own = not INSTALLED or Path(sys.prefix) == Path(node.home) / "venv"
    if own and again is not None and files.read_bytes(whole) != before:
        words = [*PYTHON, "-S", str(environment.program(SOURCE)), *again] if again else sys.orig_argv[1:]
        os.execv(sys.executable, [sys.executable, *words])


def _install(node: Node, bundle: Path | None, console: Console) -> None:
    """Bring the virtualenv to what the node wants, with the Python it was made with, and the code of a package."""
    environment.ensure(
        Path(node.home),
        os.path.realpath(node.python if node.python.exists() else sys.executable),
        os.environ,
        requirements=node.settings.requirements,
        jupyter=service.wanted(node),
        engines_alone=node.settings.role == "engine",
        offline=bundle,
        say=console.phase,
        keep=source_code.of_package(Path(node.home)),
        before=lambda engines: before_packages(Path(node.home), console, engines=engines),
    )


def before_packages(folder: Path, console: Console, *, engines: bool) -> None:
    """Before packages change that services run with, ``engines`` or others: have the rights to start them anew.

    Engines at work are seen to as well. Raises CncpError; what is not known is in nobody's way.
    """
    past = former(folder)
    if past is None:
        return
    require_root(past, "up")
    if engines:
        busy_engines.insist(
            busy_engines.of(past, past.services), "other packages", busy_engines.said(os.environ), console.phase
        )


LOSE = 10
"""What ``ask`` returns where the user said that tasks may be lost."""


def ask(engines: bool) -> int:  # what stage0 has found out
    """Be ``before_packages`` for stage0, which has no package to ask with; return the exit code."""
    forced = busy_engines.said(os.environ).force
    console = Console()
    try:
        before_packages(home(os.environ), console, engines=engines)
    except (CncpError, OSError) as error:
        return console.error(error)
    except KeyboardInterrupt:
        # Said by who has started this.
        return 128 + signal.SIGINT
    return LOSE if busy_engines.said(os.environ).force and not forced else 0


def _answer() -> MachineReport:
    command_log.begin(home(os.environ), "up", debug=False)
    parser = argparse.ArgumentParser(prog="cncp.remote up")
    for setting in SETTINGS:
        parser.add_argument(setting.flag, dest=setting.key)
    flags = {key: value for key, value in vars(parser.parse_args()).items() if value is not None}
    return report(*converge(request(os.environ, file=None, flags=flags, forget=True), Console()))


def main() -> int:
    """Be the program that the machine in charge runs; return its exit code."""
    return answered(_answer)
