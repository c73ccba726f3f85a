"""The cluster's Python for what a user starts by himself: a script, a program, a shell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cncp.errors import CncpError, UsageError

SHELLS = Path(__file__).resolve().parents[1] / "shells"
"""What interactive shells read beside the user's own files."""

NAME = "cncp"
"""What stands before the prompt."""

_NO_SHELLS = ("nologin", "false", "true", "")


def virtualenv(home: Path) -> Path:
    """Return the virtualenv of a home folder. Raises CncpError where there is none."""
    found = home / "venv"
    if not os.access(found / "bin" / "python", os.X_OK):
        raise CncpError(f"there is no virtualenv in {home}", "make one: bash ./baremetal.sh, or cncp up")
    return found


def surroundings(venv: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the virtualenv's programs come first.

    What would have its Python import another Python's modules is left out, as it is for engines.
    """
    left = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    path = f"{venv / 'bin'}{os.pathsep}{environment.get('PATH') or os.defpath}"
    return {**left, "PATH": path, "VIRTUAL_ENV": str(venv), "VIRTUAL_ENV_PROMPT": NAME}


def script(venv: Path, words: Sequence[str]) -> list[str]:
    """Return the command line that runs a script, or a program of the virtualenv. Raises UsageError."""
    first = words[0] if words else ""
    if not first:
        raise UsageError("run needs a script", "for instance: cncp run first.py 100; Python itself: cncp python")
    program = venv / "bin" / first
    if "/" not in first and not os.path.exists(first) and os.access(program, os.X_OK):
        return [str(program), *words[1:]]
    if not os.path.exists(first) and not first.startswith("-"):
        raise UsageError(f"there is no file {first} here", "name a script: cncp run FILE [ARGUMENT]...")
    return [str(venv / "bin" / "python"), *words]


def shell(environment: Mapping[str, str], *, interactive: bool) -> tuple[list[str], dict[str, str]]:
    """Return how the user's shell is started, and what is added to its environment.

    An interactive one has its own files read first; the virtualenv then comes first all the same, and the
    prompt says so. Where a shell has no way to that (tcsh), only its environment does.
    """
    program = environment.get("SHELL") or "/bin/sh"
    if os.path.basename(program) in _NO_SHELLS or shutil.which(program) is None:
        program = "/bin/sh"
    kind = os.path.basename(program)
    if not interactive:
        return [program], {}
    if kind == "bash":
        return [program, "--rcfile", str(SHELLS / "bashrc"), "-i"], {}
    if kind == "zsh":
        theirs = environment.get("ZDOTDIR", "")
        return [program, "-i"], {"ZDOTDIR": str(SHELLS / "zsh"), **({"CNCP_ZDOTDIR": theirs} if theirs else {})}
    if kind == "fish":
        return [program, "-i", "-C", f"source '{_quoted(SHELLS / 'init.fish')}'"], {}
    return [program], {"PS1": f"({NAME}) $ "} if kind in ("sh", "dash", "ksh", "mksh", "ash") else {}


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace("'", "\\'")
