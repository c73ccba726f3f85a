"""run, python and shell: the cluster's Python for what a user starts by himself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from invoke.context import Context

from cncp.console import Console
from cncp.errors import UsageError
from cncp.machine import own, place
from cncp.run import become
from cncp.tasks.command import command, remainder


def _venv() -> Path:
    return own.virtualenv(place.home(os.environ))


@command(rest="SCRIPT [ARGUMENT]...", verbatim=True)
def run(context: Context) -> None:
    """Run a script with the cluster's Python, or a program of its virtualenv: in this folder, with its arguments."""
    venv = _venv()
    become(own.script(venv, remainder(sys.argv)), own.surroundings(venv, os.environ))


@command(rest="[ARGUMENT]...", verbatim=True)
def python(context: Context) -> None:
    """Run the cluster's Python, with its own options and arguments."""
    venv = _venv()
    become([str(venv / "bin" / "python"), *remainder(sys.argv)], own.surroundings(venv, os.environ))


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
    argv, more = own.shell(os.environ, interactive=interactive)
    if interactive:
        Console().note("python is the cluster's Python here; exit leaves this shell")
    become([*argv, *words], {**own.surroundings(venv, os.environ), **more})


__all__ = ["python", "run", "shell"]
