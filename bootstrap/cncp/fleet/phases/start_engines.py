"""Engines started on hosts: each gets the connection file that works there, and runs its main job."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from cncp.config.host_way import FORWARD, REVERSE
from cncp.errors import plural
from cncp.files import to_json
from cncp.fleet import deploy, tunnel_grants, tunnel_setup
from cncp.fleet.model import DIAL, Surveyed
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.fleet.registry import Placed
from cncp.fleet.tunnel_grants import Gate
from cncp.ipp.connection_file import EngineFile
from cncp.machine.connection_files import delivered
from cncp.machine.ops.apply import MachineReport
from cncp.machine.tunnels import label
from cncp.serve.controller_address import NAMES
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import at_once
from cncp.ssh.rpc import dial


class StartEngines(Phase):
    """Engines are started on all hosts at the same time."""

    name: ClassVar = "start-engines"

    def title(self, run: Run, report: Report) -> str:
        """Name how many; where it is this machine alone there is none."""
        ready = report.ready(run.fleet)
        return f"starting engines on {plural(len(ready), 'host')}" if ready else ""

    def run(self, run: Run, report: Report) -> None:
        """Run the main job on each host."""
        started = at_once(report.ready(run.fleet), Start(run, report))
        report.hosts.update(started.results)
        report.fail(started.failures)


class Start:
    """Gives a host the connection file that works there, and runs its main job."""

    def __init__(self, run: Run, report: Report) -> None:
        self._run = run
        self._report = report
        self._letting_in = threading.Lock()
        self._addresses = report.controller.addresses()

    def __call__(self, host: Surveyed) -> MachineReport:
        """Start the engines of one host; return its report. Raises HostError."""
        began = time.monotonic()
        connect, secret = host.host.spec.connect, self._report.secret
        try:
            if connect == FORWARD:
                self._forward(host)
            elif host.has_tunnels:
                # What is left of another way of connecting, or of the controller that was here.
                tunnel_setup.leave(Placed.of(host), host.host, [])
            if connect == REVERSE:
                log = f"cncp logs --limit {self._run.head.name} --name tunnel-{label(host.name)}"
                tunnel_setup.await_ports(host, secret, log)
            file = self._direct(host) if host.host.spec.direct else tunnel_setup.behind(secret)
            host.host.put(to_json(file), str(delivered(Path(host.home))))
            settings = self._report.settings[host.name]
            report = deploy.up(host, settings, self._run.say(host.name), self._run.code)
            if connect == FORWARD:
                log = f"cncp logs --limit {host.name} --name tunnel-{label(self._report.controller.name)}"
                tunnel_setup.await_ports(host, secret, log)
            return report
        finally:
            self._report.host_seconds[host.name] = time.monotonic() - began

    def _ways(self, host: Surveyed) -> list[str]:
        """Return the addresses by which a host may reach the controller's machine, the likeliest first."""
        # The address that ssh came from is likely the one that leads back.
        seen_by = host.facts.seen_from if self._run.head.local else ""
        return [*filter(None, (self._report.controller.external, seen_by)), *self._addresses]

    def _direct(self, host: Surveyed) -> EngineFile:
        secret, ways = self._report.secret, self._ways(host)
        # Addresses change, and with them the digest of what engines depend on; names are what stays.
        names = list(dict.fromkeys(way for way in ways if not is_address(way)))
        return replace(secret, location=reachable(host, secret, ways), others={**secret.others, NAMES: names})

    def _forward(self, host: Surveyed) -> None:
        """Have a host keep an ssh to the controller's machine."""
        controller = self._report.controller
        port = controller.host.spec.port
        way = tunnel_setup.by_trial(host.host, controller.name, controller.user, port, self._ways(host))
        whole = tunnel_setup.by(way, controller.host, self._report.secret, reverse=False)
        left = tunnel_setup.leave(Placed.of(host), host.host, [whole])
        # All hosts have theirs written into the same file there.
        with self._letting_in:
            key = tunnel_grants.let_in(controller.host, left.public, whole)
            self._report.gates.add(Gate(self._run.head.name, host.name, key))


def is_address(way: str) -> bool:
    """Tell whether a way is a number."""
    try:
        ipaddress.ip_address(way)
    except ValueError:
        return False
    return True


def reachable(host: Surveyed, secret: EngineFile, addresses: Sequence[str]) -> str:
    """Return the first address at which a host reaches all of the controller's ports, by trying.

    Raises HostError naming what was tried, and the ports that do not answer.
    """
    tried = list(dict.fromkeys(addresses))
    wanted = secret.ports
    answers = dial(host.host, tried, wanted, DIAL)
    best = max(tried, key=lambda address: len(answers[address]))
    closed = [port for port in wanted if port not in answers[best]]
    if not closed:
        return best
    hint = "open them to it: cncp firewall prints the rules"
    if len(closed) == len(wanted):
        raise HostError(
            host.name,
            f"it reaches the controller at none of {', '.join(tried)}, ports {min(wanted)}-{max(wanted)}",
            hint,
        )
    raise HostError(host.name, f"port {', '.join(map(str, closed))} of {best} is closed to it", hint)
