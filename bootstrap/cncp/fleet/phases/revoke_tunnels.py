"""Keys of tunnels that are used no more are shut out again."""

from __future__ import annotations

from contextlib import nullcontext
from typing import ClassVar

from cncp.config.inventory import LOCAL, HostSpec
from cncp.fleet import registry, tunnel_grants
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.ssh.connection import Host, Local
from cncp.ssh.host_errors import HostError


class RevokeTunnels(Phase):
    """Which keys are let in where is kept, and those that the hosts that were started no longer use are shut out.

    Machines that are not of the cluster any more are shut when they are uninstalled.
    """

    name: ClassVar = "revoke-tunnels"

    def run(self, run: Run, report: Report) -> None:
        """Keep all, then take lines out of authorized_keys."""
        home = run.fleet.home
        noted = tunnel_grants.load(home)
        tunnel_grants.save(home, noted | report.gates)
        stale = {gate for gate in noted - report.gates if gate.engines in report.hosts}
        reach: dict[str, Host] = {
            LOCAL: Local(HostSpec(LOCAL)),
            **{name: surveyed.host for name, surveyed in report.surveyed.items()},
        }
        try:
            tunnel_grants.close(home, stale, registry.load(home), lambda name: nullcontext(reach.get(name)))
        except HostError as error:
            report.fail({error.host: error})
