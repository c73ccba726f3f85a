"""Machines that Vagrant makes, under libvirt or VirtualBox, as hosts of a cluster.

Vagrant boots them and lets itself in; from then on they are reached by the user's own ssh, with host
keys that came over Vagrant's connection. Facts: vagrant(1) ``ssh-config`` and ``status --machine-readable``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cncp.config.inventory import HostSpec
from cncp.config.sources import SOURCE
from cncp.errors import CncpError, plural
from cncp.files import write_atomic
from cncp.pools.vm import accel
from cncp.pools.vm.site import Guest, Row, Say, Wanted, know
from cncp.process import Completed, run
from cncp.records import OTHERS, Record
from cncp.state_files import StateFile

BOX = "cncp-compute"
"""The box that machines are made of, as in the Vagrantfile."""

LIBVIRT, VIRTUALBOX = "libvirt", "virtualbox"

_FOLDER = SOURCE / "vm" / "compute"
_TIMEOUT = 3600.0  # s: emulated machines take minutes to boot

_ENTER = """
umask 077 && mkdir -p ~/.ssh && touch ~/.ssh/authorized_keys && cd ~/.ssh &&
while read -r key; do grep -qxF -- "$key" authorized_keys || echo "$key" >> authorized_keys || exit 1; done &&
cat /etc/ssh/ssh_host_ed25519_key.pub
"""


@dataclass(frozen=True)
class Settings(Record):
    """What the machines were made with: variables that the Vagrantfile reads."""

    variables: Annotated[Mapping[str, str], OTHERS]


STORE = StateFile(
    "settings.json",
    Settings,
    "take the machines away, and make them anew: cncp vm.destroy, then cncp vm.up",
    # All that is in it becomes a variable of Vagrant's.
    stamped=False,
)


class Vagrant:
    """Vagrant with our Vagrantfile. ``folder`` holds what it knows of its machines, and the settings they have."""

    def __init__(self, folder: Path, home: Path, provider: str = "") -> None:
        """``provider`` may be left out where there are machines already."""
        self._folder = folder
        self._home = home
        self._provider = provider

    def there(self) -> bool:
        """Tell whether there are machines."""
        return STORE.path(self._folder).exists()

    def check(self, wanted: Wanted) -> None:
        """Raise CncpError where Vagrant cannot be used, or machines are too many already."""
        if shutil.which("vagrant") is None:
            raise CncpError("there is no vagrant on this machine", "apt-get install vagrant vagrant-libvirt rsync")
        if not (_FOLDER / "Vagrantfile").exists():
            raise CncpError(f"there is no {_FOLDER}/Vagrantfile", "run this in a whole checkout")
        known = self._number("COUNT")
        if known > wanted.count:
            raise CncpError(f"{plural(known, 'machine')} there already", "take them away first: cncp vm.destroy")
        # Any other name may be one of a catalogue that Vagrant reaches.
        if not known and wanted.base in ("", BOX) and BOX not in run(["vagrant", "box", "list"], timeout=60).stdout:
            raise CncpError(
                f"Vagrant has no box {BOX}", f"add one of vm.package: vagrant box add --name {BOX} FILE, or --image BOX"
            )

    def up(self, wanted: Wanted, authorized: tuple[str, ...], say: Say) -> list[Guest]:
        """Make and start machines, provision nothing, and let ``authorized`` in. Raises CncpError."""
        made = {"COUNT": wanted.count, "MEMORY": wanted.memory, "CORES": wanted.cores, "BOX": wanted.base}
        variables = {f"CNCP_VM_{name}": str(value) for name, value in made.items() if value}
        if self._provider == LIBVIRT:
            variables["CNCP_VM_DRIVER"] = "kvm" if accel.kvm() else "qemu"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        STORE.save(self._folder, Settings({**self._settings(), **variables}))
        say(f"vagrant up: {plural(wanted.count, 'machine')} under {self._provider or 'what they were made with'}")
        self._run("up", "--no-provision", *([f"--provider={self._provider}"] if self._provider else []))
        return self._admit(authorized)

    def _admit(self, authorized: Sequence[str]) -> list[Guest]:
        said = self._run("ssh-config").stdout
        config = self._folder / "ssh-config"
        write_atomic(config, said.encode(), 0o600)
        keys = "".join(f"{key}\n" for key in authorized)
        host_keys, guests = {}, []
        for name, way in ways(said).items():
            public = run(["ssh", "-F", config, name, _ENTER], input=keys, timeout=120).stdout
            host_keys[name] = " ".join(public.split()[:2])
            guests.append(
                Guest(HostSpec(name, user=way["User"], port=int(way["Port"]), address=way["HostName"], offline=True))
            )
        know(self._home, host_keys)
        return guests

    def machines(self) -> list[Row]:
        """Return what each machine is."""
        if not self.there():
            return []
        found = states(self._run("status", "--machine-readable").stdout)
        cores, memory = self._number("CORES"), self._number("MEMORY")
        return [Row(name, state, cores, memory) for name, state in found.items()]

    def _number(self, name: str) -> int:
        """Return a number of the settings, 0 where it is lost."""
        text = self._settings().get(f"CNCP_VM_{name}", "")
        return int(text) if text.isdecimal() else 0

    def down(self, names: Collection[str] | None = None) -> list[str]:
        """Shut machines down, those of these names or all; return the names of those that ran."""
        running = [row.machine for row in self.machines() if row.state == "running"]
        going = [name for name in running if names is None or name in names]
        if going:
            self._run("halt", *going)
        return going

    def destroy(self) -> None:
        """Take all machines away, and what Vagrant knows of them. Raises CncpError."""
        if self.there():
            self._run("destroy", "--force")
            shutil.rmtree(self._folder)

    def _settings(self) -> Mapping[str, str]:
        stored = STORE.intact(self._folder)
        return stored.variables if stored else {}

    def _run(self, *words: str) -> Completed:
        own = {"VAGRANT_DOTFILE_PATH": str(self._folder), "VAGRANT_CHECKPOINT_DISABLE": "1"}
        return run(["vagrant", *words], cwd=_FOLDER, env={**os.environ, **self._settings(), **own}, timeout=_TIMEOUT)


def ways(said: str) -> dict[str, dict[str, str]]:
    """Return the options of each host of an ssh configuration."""
    found: dict[str, dict[str, str]] = {}
    for line in said.splitlines():
        key, _, value = line.strip().partition(" ")
        if key == "Host":
            found[value] = {}
        elif key and found:
            found[next(reversed(found))][key] = value.strip('"')
    return found


def states(said: str) -> dict[str, str]:
    """Return the states in Vagrant's lines of time, machine, kind and value."""
    lines = [line.split(",") for line in said.splitlines()]
    return {line[1]: line[3] for line in lines if len(line) > 3 and line[2] == "state"}
