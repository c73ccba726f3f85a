"""How to join is told to members that come by themselves: they may have begun to look for it long before."""

from __future__ import annotations

from typing import ClassVar

from cncp.config.inventory import HostSpec
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.pools.base import Rendezvous
from cncp.ssh.pool import at_once


class Publish(Phase):
    """Every pool is given what its members need to reach the controller, which answers now."""

    name: ClassVar = "publish"

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether there are pools."""
        return bool(run.fleet.concerned)

    def run(self, run: Run, report: Report) -> None:
        """Hand it over; a pool that fails is told under its name."""
        controller = report.controller
        ways = dict.fromkeys(filter(None, (controller.external, *controller.addresses())))
        settings = {
            pool.name: run.fleet.choose(HostSpec(pool.name, settings=pool.settings)) for pool in run.fleet.concerned
        }
        published = at_once(
            {pool.name: pool for pool in run.fleet.concerned},
            lambda pool: pool.publish(
                Rendezvous(report.profile, report.secret.to_json(), tuple(ways), settings[pool.name]),
                run.say(pool.name),
            ),
        )
        report.fail(published.failures)
