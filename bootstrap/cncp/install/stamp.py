"""What says that a virtualenv is whole: a module of its own, because most that ask install nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cncp.records import Record
from cncp.state_files import StateFile


@dataclass(frozen=True)
class Wanted(Record):
    """What the virtualenv is to hold: everything its stamp is compared with.

    Digests of the locks (``jupyter`` is "" without Jupyter) and of the user's own requirements. What an earlier
    version did not stamp is "".
    """

    lock: str = ""
    jupyter: str = ""
    python: str = ""
    source: str = ""
    requirements: str = ""
    requirements_from: str = ""


STAMP = StateFile(
    "venv/cncp-installed.json",
    Wanted,
    "cncp up installs what is missing",
    mode=0o644,
    # Earlier versions compare all that is in it, and would install everything anew.
    stamped=False,
)


def stamp_path(home: Path) -> Path:
    """Return the file that is there only when the virtualenv is whole."""
    return STAMP.path(home)


def of_engines(stamped: Wanted) -> dict[str, object]:
    """Return what of a stamp controller and engines run with.

    What Jupyter needs is installed on top and changes nothing of theirs; only versions that the
    user's own requirements leave open may then be others.
    """
    return {name: value for name, value in stamped.to_json().items() if name != "jupyter" or stamped.requirements}
