"""The controller's machine keeps an ssh to each host that is to be reached so."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from cncp.config.host_way import REVERSE
from cncp.errors import plural
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.fleet.tunnel_grants import Gate, let_in
from cncp.fleet.tunnel_setup import by
from cncp.machine.tunnels import label
from cncp.ssh.pool import at_once


def _reached_so(run: Run) -> list[str]:
    return [spec.name for spec in run.fleet.inventory.hosts if spec.connect == REVERSE]


class OpenTunnels(Phase):
    """Tunnels to the hosts that the run concerns are made, those to others stay as they were."""

    name: ClassVar = "open-tunnels"

    def title(self, run: Run, report: Report) -> str:
        """Name how many, unless there are only some to be left."""
        names = _reached_so(run)
        return f"connecting the controller to {plural(len(names), 'host')}" if names else ""

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether there are tunnels to be opened, or some to be left."""
        return super().wanted(run, report) and (bool(_reached_so(run)) or report.controller.has_tunnels)

    def run(self, run: Run, report: Report) -> None:
        """Have each host let the controller's machine in; bring that up again where its tunnels are new."""
        controller, ready, names = report.controller, report.ready(run.fleet), _reached_so(run)
        hosts = {name: host for name, host in ready.items() if name in names}
        found = at_once(hosts, lambda host: by(controller.way_to(host), host.host, report.secret, reverse=True))
        left = controller.leave(list(found.results.values()), [label(name) for name in names if name not in hosts])
        able = {name: hosts[name] for name in found.results}
        keys = at_once(able, lambda host: let_in(host.host, left.public, found.results[host.name]))
        report.gates |= {Gate(name, name, key) for name, key in keys.results.items()}
        report.fail({**found.failures, **keys.failures})
        if left.changed:
            report.hosts[run.head.name] = replace(controller.up(), changed=True)
