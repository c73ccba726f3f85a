"""Engines started on hosts: each gets the connection file that works there, and runs its main job."""

from __future__ import annotations

import ipaddress
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cncp.config.inventory import FORWARD, REVERSE
from cncp.config.settings import Value
from cncp.fleet import deploy, tunnel_grants, tunnel_setup
from cncp.fleet.controller_host import Controller
from cncp.fleet.model import DIAL, Done, Fleet, Surveyed
from cncp.fleet.phases.prepare import Preparation
from cncp.fleet.registry import Placed
from cncp.ipp.keys import ENGINE_CHANNELS, ports_of
from cncp.machine.connection_files import delivered
from cncp.machine.tunnels import label
from cncp.serve.controller_address import NAMES
from cncp.ssh.host_errors import HostError
from cncp.ssh.rpc import call


class Start:
    """Gives a host the connection file that works there, and runs its main job."""

    def __init__(
        self,
        fleet: Fleet,
        controller: Controller,
        secret: Mapping[str, Any],
        settings: Mapping[str, Mapping[str, Value]],
        prepare: Preparation,
        done: Done,
    ) -> None:
        self.keys: dict[str, str] = {}
        self._fleet = fleet
        self._controller = controller
        self._letting_in = threading.Lock()
        self._secret = secret
        self._addresses = controller.addresses()
        self._settings = settings
        self._prepare = prepare
        self._done = done

    def __call__(self, one: Surveyed) -> dict[str, Any]:
        """Start the engines of one host; return its report. Raises HostError."""
        began = time.monotonic()
        connect = one.host.spec.connect
        try:
            if connect == FORWARD:
                self._forward(one)
            elif one.has_tunnels:
                # What is left of another way of connecting, or of the controller that was here.
                tunnel_setup.leave(Placed.of(one), one.host, [])
            if connect == REVERSE:
                log = f"cncp logs --limit {self._fleet.inventory.controller.name} --name tunnel-{label(one.name)}"
                tunnel_setup.await_ports(one, self._secret, log)
            document = self._direct(one) if one.host.spec.direct else tunnel_setup.behind(self._secret)
            one.host.put(json.dumps(document).encode(), str(delivered(Path(one.home))))
            said = deploy.up(one, self._settings[one.name], self._prepare.say(one.name), self._prepare.ours)
            if connect == FORWARD:
                log = f"cncp logs --limit {one.name} --name tunnel-{label(self._controller.name)}"
                tunnel_setup.await_ports(one, self._secret, log)
            return said
        finally:
            self._done.seconds[one.name] = time.monotonic() - began

    def _ways(self, one: Surveyed) -> list[str]:
        """Return the addresses by which a host may reach the controller's machine, the likeliest first."""
        # The address that ssh came from is likely the one that leads back.
        seen_by = one.facts["from"] if self._fleet.inventory.controller.local else ""
        return [*filter(None, (self._controller.external, seen_by)), *self._addresses]

    def _direct(self, one: Surveyed) -> dict[str, Any]:
        ways = self._ways(one)
        # Addresses change, and with them the digest of what engines depend on; names are what stays.
        names = list(dict.fromkeys(way for way in ways if not is_address(way)))
        return {**self._secret, "location": reachable(one, self._secret, ways), NAMES: names}

    def _forward(self, one: Surveyed) -> None:
        """Have a host keep an ssh to the controller's machine."""
        there = self._controller
        way = tunnel_setup.by_trial(one.host, there.name, there.user, there.host.spec.port, self._ways(one))
        whole = tunnel_setup.by(way, there.host, self._secret, reverse=False)
        left = tunnel_setup.leave(Placed.of(one), one.host, [whole])
        # All hosts have theirs written into the same file there.
        with self._letting_in:
            self.keys[one.name] = tunnel_grants.let_in(there.host, left["public"], whole)


def is_address(way: str) -> bool:
    """Tell whether a way is a number."""
    try:
        ipaddress.ip_address(way)
    except ValueError:
        return False
    return True


def reachable(one: Surveyed, secret: Mapping[str, Any], addresses: Sequence[str]) -> str:
    """Return the first address at which a host reaches all of the controller's ports, by trying.

    Raises HostError naming what was tried, and the ports that do not answer.
    """
    tried = list(dict.fromkeys(addresses))
    wanted = ports_of(secret, ENGINE_CHANNELS)
    answers = call(one.host, "dial", tried, wanted, DIAL, timeout=DIAL * 3)["open"]
    best = max(tried, key=lambda address: len(answers[address]))
    closed = [port for port in wanted if port not in answers[best]]
    if not closed:
        return best
    hint = "open them to it: cncp firewall prints the rules"
    if len(closed) == len(wanted):
        raise HostError(
            one.name,
            f"it reaches the controller at none of {', '.join(tried)}, ports {min(wanted)}-{max(wanted)}",
            hint,
        )
    raise HostError(one.name, f"port {', '.join(map(str, closed))} of {best} is closed to it", hint)
