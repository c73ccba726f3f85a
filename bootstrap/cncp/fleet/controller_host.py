"""The controller of a cluster of several machines: on this one, or on a host."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from cncp.config.inventory import LOCAL, HostSpec
from cncp.config.parsers import Value
from cncp.console import Console
from cncp.fleet import deploy
from cncp.fleet.model import Surveyed
from cncp.fleet.registry import Placed
from cncp.fleet.tunnel_setup import by_trial, leave
from cncp.ipp.connection_file import ENGINE, EngineFile
from cncp.machine import tunnels
from cncp.machine.node import Node
from cncp.machine.ops.apply import MachineReport, report, up
from cncp.machine.ops.engine_states import RollCall, roll_call
from cncp.machine.tunnels import Delivered, Tunnel
from cncp.ssh import answers, bare_host
from cncp.ssh.command import Line
from cncp.ssh.connection import Host, Local


class Controller(Protocol):
    """What the engines' hosts need of the controller's, wherever it is."""

    def up(self) -> MachineReport:
        """Run the main job there; return its report."""

    def engine_file(self) -> EngineFile:
        """Return the engines' connection file. It is a secret."""

    def addresses(self) -> list[str]:
        """Return the addresses by which it may be reached."""

    @property
    def external(self) -> str:
        """The address by which it is to be reached, "" where that was not set."""

    @property
    def host(self) -> Host:
        """Its machine, to run commands on."""

    @property
    def has_tunnels(self) -> bool:
        """Whether its machine has something to connect, or had."""

    @property
    def name(self) -> str:
        """The name of its machine."""

    @property
    def user(self) -> str:
        """The account that it runs as."""

    def way_to(self, surveyed: Surveyed) -> HostSpec:
        """Return how its machine reaches the sshd of a host. Raises HostError."""

    def leave(self, wanted: Sequence[Tunnel], keep: Collection[str]) -> Delivered:
        """Leave there what its tunnels need (``machine.tunnels.deliver``)."""

    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        """Ask which engines answer, waiting up to ``patience`` seconds for all of them."""


class Here:
    """The controller on this machine."""

    def __init__(self, node: Node, console: Console) -> None:
        self._node = node
        self._console = console
        self.host = Local(HostSpec(LOCAL))

    def up(self) -> MachineReport:
        """Converge this machine."""
        self._node = replace(self._node, tunnels=tunnels.load(Path(self._node.home)))
        return report(self._node, up(self._node, self._console))

    def engine_file(self) -> EngineFile:
        """Read it from the profile."""
        return _content(self.name, (self._node.security_dir / ENGINE).read_bytes())

    def addresses(self) -> list[str]:
        """Return this machine's addresses and its name."""
        return [*bare_host.addresses(), self._node.host]

    @property
    def external(self) -> str:
        """Return the address that was set."""
        named = self._node.settings.external
        return "" if named == "auto" else named

    @property
    def name(self) -> str:
        """Return this machine's host name."""
        return self._node.host

    @property
    def user(self) -> str:
        """Return the account's name."""
        return self._node.account.name

    @property
    def has_tunnels(self) -> bool:
        """Look into the home folder."""
        return tunnels.folder(Path(self._node.home)).exists()

    def way_to(self, surveyed: Surveyed) -> HostSpec:
        """Return the way that we have just taken."""
        return surveyed.host.spec

    def leave(self, wanted: Sequence[Tunnel], keep: Collection[str]) -> Delivered:
        """Write it into the home folder."""
        return tunnels.deliver(Path(self._node.home), wanted, keep)

    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        """Ask the hub."""
        return roll_call(self._node, uuids, patience)


class There:
    """The controller on a host."""

    def __init__(self, surveyed: Surveyed, settings: Mapping[str, Value], say: Line, ours: deploy.Code) -> None:
        self._surveyed = surveyed
        self._ours = ours
        self.host = surveyed.host
        self._settings = settings
        self._say = say
        self._profile_dir = ""

    def up(self) -> MachineReport:
        """Install and converge that host."""
        done = deploy.up(self._surveyed, self._settings, self._say, self._ours)
        self._profile_dir = done.profile_dir
        return done

    def engine_file(self) -> EngineFile:
        """Fetch it over the connection; it is on no disk of this machine."""
        return _content(self.name, self._surveyed.host.get(f"{self._profile_dir}/security/{ENGINE}"))

    def addresses(self) -> list[str]:
        """Return the host's addresses and names."""
        spec = self._surveyed.host.spec
        return [*([spec.address] if spec.address else []), *self._surveyed.facts.addresses, spec.name]

    @property
    def external(self) -> str:
        """Return the address that was set."""
        return str(self._settings.get("external", "auto")).removeprefix("auto")

    @property
    def name(self) -> str:
        """Return its name in the inventory."""
        return self._surveyed.name

    @property
    def user(self) -> str:
        """Return the account that we log in to."""
        return self._surveyed.facts.user

    @property
    def has_tunnels(self) -> bool:
        """Return what the host has said of itself."""
        return self._surveyed.has_tunnels

    def way_to(self, surveyed: Surveyed) -> HostSpec:
        """Have that host try."""
        spec = surveyed.host.spec
        addresses = [spec.address, *surveyed.facts.addresses, spec.name]
        return by_trial(self.host, surveyed.name, surveyed.facts.user, spec.port, addresses)

    def leave(self, wanted: Sequence[Tunnel], keep: Collection[str]) -> Delivered:
        """Bring it there."""
        return leave(Placed.of(self._surveyed), self.host, wanted, keep)

    def roll_call(self, uuids: Collection[str], patience: float) -> RollCall:
        """Have that host ask its hub."""
        return remote_roll_call(Placed.of(self._surveyed), self._surveyed.host, uuids, patience)


def remote_roll_call(placed: Placed, host: Host, uuids: Collection[str], patience: float) -> RollCall:
    """Ask the hub of a host about engines."""
    words = ("engines", str(patience))
    return deploy.ask(placed, host, RollCall, *words, given=sorted(uuids), timeout=patience + 60)


def _content(machine: str, raw: bytes) -> EngineFile:
    return answers.read(machine, raw, EngineFile, "cncp up on the controller's machine")
