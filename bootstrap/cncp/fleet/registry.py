"""Where everything is on each host: noted by `up`, so that the other verbs need not look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from cncp import remote
from cncp.config.inventory import HostSpec, Inventory
from cncp.files import make_home
from cncp.fleet.model import Surveyed
from cncp.records import Record
from cncp.state_files import Damaged, StateFile
from cncp.surroundings import PYTHON

R = TypeVar("R", bound=Record)


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

    def own(self, *words: str) -> list[str]:
        """Return the command that runs cncp there for a cluster that is that machine's own."""
        return self._python("-m", "cncp", *words, here="")

    def _python(self, *words: str, here: str = "true") -> list[str]:
        return [
            *("env", f"CNCP_HERE={here}", *(f"{key}={value}" for key, value in self.environment.items())),
            *(f"{self.home}/venv/bin/python", *PYTHON, *words),
        ]


@dataclass(frozen=True)
class Registry(Record):
    """The hosts that `up` has set up from here, by name."""

    hosts: Mapping[str, Placed] = field(default_factory=dict)


STORE = StateFile("fleet.json", Registry, "cncp up notes anew where all is on each host", "the hosts that were set up")


def readable(home: Path) -> bool:
    """Tell whether what was noted can be read, or nothing was."""
    try:
        STORE.load(home)
    except Damaged:
        return False
    return True


def load(home: Path) -> dict[str, Placed]:
    """Return the hosts that `up` has set up from here, by name."""
    stored = STORE.intact(home) or Registry()
    return {name: replace(placed, name=name) for name, placed in stored.hosts.items()}


def save(home: Path, places: Mapping[str, Placed]) -> None:
    """Keep the places; without any there is nothing to keep."""
    # The settings of a host are the file's to say, each time anew.
    hosts = {name: replace(placed, spec=replace(placed.spec, settings={})) for name, placed in places.items()}
    keep(STORE, home, Registry(hosts) if hosts else None)


def keep(store: StateFile[R], home: Path, record: R | None) -> None:
    """Store a record in the home of the machine in charge; None where there is nothing to keep in it."""
    if record is not None:
        make_home(home)
    store.save(home, record)


def forgotten(hosts: Inventory, home: Path) -> dict[str, HostSpec]:
    """Return the hosts that were set up from here and that the file no longer names."""
    named = {host.name for host in hosts.everyone}
    return {name: placed.spec for name, placed in sorted(load(home).items()) if name not in named}
