"""run, python, pip and shell: the cluster's Python for what a user starts by himself."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from invoke.context import Context

from cncp import accounts
from cncp.console import Console
from cncp.errors import UsageError
from cncp.machine import added_packages, user_programs
from cncp.machine.actor import Actor
from cncp.machine.node import installed
from cncp.process import Command, become, users
from cncp.surroundings import PYTHON
from cncp.tasks.task import command, remainder


def _venv() -> Path:
    return user_programs.virtualenv(accounts.home(os.environ))


def _become(venv: Path, argv: Sequence[str], more: Mapping[str, str] | None = None) -> NoReturn:
    """Let a program of the user's take our place, with the cluster's programs first on the PATH."""
    become(argv, {**user_programs.surroundings(venv, os.environ), **(more or {})}, Command(users(argv)))


@command(rest="SCRIPT [ARGUMENT]...", verbatim=True)
def run(context: Context) -> None:
    """Run a script with the cluster's Python, or a program of its virtualenv: in this folder, with its arguments."""
    venv = _venv()
    _become(venv, user_programs.script(venv, remainder(sys.argv)))


@command(rest="[ARGUMENT]...", verbatim=True)
def python(context: Context) -> None:
    """Run the cluster's Python, with its own options and arguments."""
    venv = _venv()
    _become(venv, [str(venv / "bin" / "python"), *remainder(sys.argv)])


@command(rest="install|uninstall PACKAGE...", verbatim=True)
def pip(context: Context) -> None:
    """Install packages into the cluster, on all its hosts, and note them for good; other words are pip's own."""
    venv, words = _venv(), remainder(sys.argv)
    if words[:1] not in (["install"], ["uninstall"]):
        _become(venv, [str(venv / "bin" / "python"), *PYTHON, "-m", "pip", *words])
    # Not at the top: to run a script takes none of it.
    from cncp.tasks import main_job

    node = installed(accounts.home(os.environ))
    packages = [word for word in words[1:] if word not in ("-y", "--yes", "-U", "--upgrade")]
    with added_packages.noted(
        Path(node.home), Actor(node.account), words[0], packages, node.settings.requirements
    ) as setting:
        # Noted by then, it is to be installed or uninstalled no second time.
        main_job.converge(Console(), {"requirements": setting}, again=("up", f"--requirements={setting}"))


@command(rest="[-c COMMAND]", verbatim=True)
def shell(context: Context) -> None:
    """Open a shell in which the virtualenv's programs come first, or have it run a command."""
    words = remainder(sys.argv)
    if words and words[0] != "-c":
        raise UsageError(
            f"command line: shell takes no word {words[0]!r}",
            f"did you mean cncp run {words[-1]}? Or: cncp shell -c 'COMMAND'",
        )
    if words == ["-c"]:
        raise UsageError("command line: -c needs a command", "for instance: cncp shell -c 'python first.py'")
    venv = _venv()
    interactive = not words and sys.stdin.isatty()
    argv, more = user_programs.shell(os.environ, interactive=interactive)
    if interactive:
        Console().note("python is the cluster's Python here; exit leaves this shell")
    _become(venv, [*argv, *words], more)


__all__ = ["pip", "python", "run", "shell"]
