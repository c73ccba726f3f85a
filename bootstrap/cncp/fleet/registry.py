"""Where everything is on each host: noted by `up`, so that the other verbs need not look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cncp import remote
from cncp.config.inventory import HostSpec, Inventory
from cncp.files import make_home, read_shape, to_json, write_atomic
from cncp.fleet.model import Surveyed
from cncp.surroundings import PYTHON


@dataclass(frozen=True)
class Placed:
    """A host on which something of ours is. ``root`` and ``home`` are as in ``Surveyed``."""

    name: str
    root: str
    home: str
    environment: Mapping[str, str]
    shared: tuple[str, ...]
    spec: HostSpec

    @staticmethod
    def of(surveyed: Surveyed) -> Placed:
        """Return the place of a host that was looked at."""
        return Placed(
            surveyed.name, surveyed.root, surveyed.home, surveyed.environment, surveyed.shared, surveyed.host.spec
        )

    def command(self, *words: str) -> list[str]:
        """Return the command that runs cncp there, as a user would."""
        return self._python("-m", "cncp", *words)

    def remote(self, *words: str) -> list[str]:
        """Return the command that runs a verb of `cncp.remote` there; `answers.of_remote` takes its answer."""
        return self._python(*remote.command(*words))

    def _python(self, *words: str) -> list[str]:
        return [
            *("env", "CNCP_HERE=true", *(f"{key}={value}" for key, value in self.environment.items())),
            *(f"{self.home}/venv/bin/python", *PYTHON, *words),
        ]


def path(home: Path) -> Path:
    """Return the file that holds the places, in the home of the machine in charge."""
    return home / "fleet.json"


_STORED = {"hosts": dict[str, Placed]}


def readable(home: Path) -> bool:
    """Tell whether what was noted can be read, or nothing was."""
    return not path(home).exists() or read_shape(path(home), _STORED) is not None


def load(home: Path) -> dict[str, Placed]:
    """Return the hosts that `up` has set up from here, by name."""
    stored = read_shape(path(home), _STORED)
    return {name: replace(one, name=name) for name, one in stored["hosts"].items()} if stored else {}


def save(home: Path, places: Mapping[str, Placed]) -> None:
    """Keep the places; without any there is nothing to keep."""
    # The settings of a host are the file's to say, each time anew.
    hosts = {name: asdict(replace(one, spec=replace(one.spec, settings={}))) for name, one in places.items()}
    keep(path(home), {"hosts": hosts} if hosts else None)


def keep(file: Path, document: Mapping[str, Any] | None) -> None:
    """Write a file into the home of the machine in charge; None where there is nothing to keep in it."""
    if document:
        make_home(file.parent)
        write_atomic(file, to_json(document), 0o600)
    else:
        file.unlink(missing_ok=True)


def forgotten(hosts: Inventory, home: Path) -> dict[str, HostSpec]:
    """Return the hosts that were set up from here and that the file no longer names."""
    named = {host.name for host in hosts.everyone}
    return {name: one.spec for name, one in sorted(load(home).items()) if name not in named}
