"""What `cncp pip install` put in: noted in a requirements file of our own, so that it outlives the virtualenv.

From there it is a requirement like any other: checked against the lock, installed on every host, and
installed again whenever a virtualenv is made anew.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cncp.errors import UsageError
from cncp.files import read_bytes
from cncp.install.wheels import normal
from cncp.machine.actor import Actor

_ROOM_FOR_MORE = "put what is more than names and versions into a file: cncp up --requirements FILE"


def path(home: Path) -> Path:
    """Return the file they are noted in."""
    return home / "packages.txt"


def changed(lines: Sequence[str], verb: str, packages: Sequence[str]) -> list[str]:
    """Return the lines after packages were installed or uninstalled. Raises UsageError on what is no package."""
    if not packages:
        raise UsageError(f"pip {verb} needs a package", f"for instance: cncp pip {verb} numpy")
    named = {_name(package): package for package in packages}
    kept = [line for line in lines if _name(line) not in named]
    if verb == "install":
        return [*kept, *named.values()]
    missing = set(named) - {_name(line) for line in lines}
    if missing:
        raise UsageError(
            f"{min(missing)} was not installed by cncp pip", "see what was: cncp pip list; what the lock has stays"
        )
    return kept


def _name(requirement: str) -> str:
    match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[\w\s,.-]*\])?\s*([<>=!~;@].*)?", requirement)
    if match is None or not requirement.isprintable():
        raise UsageError(f"{requirement!r} is not the name of a package", _ROOM_FOR_MORE)
    return normal(match[1])


@contextlib.contextmanager
def noted(home: Path, actor: Actor, verb: str, packages: Sequence[str], setting: str) -> Iterator[str]:
    """Note packages for the length of a ``with`` block that installs them, and for good where that succeeds.

    ``setting`` is the requirements in use; what is to be in use is returned. Raises UsageError.
    """
    file = path(home)
    if setting not in ("none", str(file)):
        raise UsageError(
            f"this cluster's packages are in {setting}", f"change {', '.join(packages) or 'them'} there, then: cncp up"
        )
    before = read_bytes(file)
    former = (before or b"").decode(errors="replace").splitlines()
    lines = changed([line for line in former if line.strip()], verb, packages)
    try:
        if lines != former:
            actor.write(file, "".join(f"{line}\n" for line in lines).encode(), 0o600)
        yield str(file) if lines else "none"
    except BaseException:
        if before is None:
            actor.remove(file)
        else:
            actor.write(file, before, 0o600)
        raise
