"""Code and packages brought to hosts before anything is started on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

from cncp.config.settings import Value
from cncp.console import Console
from cncp.fleet import deploy, offline_bundle
from cncp.fleet.controller_host import Controller, There
from cncp.fleet.model import Fleet, Surveyed
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Outcome, at_once


class Preparation:
    """Brings code and packages to hosts, once to those that share a home."""

    def __init__(self, fleet: Fleet, ours: deploy.Code, console: Console) -> None:
        self._fleet = fleet
        self.ours = ours
        self._console = console
        self._wheels: bytes | None = None

    def all(self, hosts: Mapping[str, Surveyed]) -> Outcome[dict[str, Value]]:
        """Prepare hosts at the same time; return the settings each is to be started with."""
        self._provide(hosts.values())
        leaders = dict.fromkeys(_leader(one, hosts) for one in hosts.values())
        prepared = at_once({name: hosts[name] for name in leaders}, self)
        results: dict[str, dict[str, Value]] = {}
        failures = dict(prepared.failures)
        for name, one in hosts.items():
            leader = _leader(one, hosts)
            if leader in prepared.failures:
                error = prepared.failures[leader]
                failures[name] = HostError(name, error.message, error.hint)
            else:
                changed = prepared.results[leader]
                own = {**self._fleet.settings[name]}
                if "requirements" in changed:
                    own["requirements"] = changed["requirements"]
                results[name] = own
        return Outcome(results, failures)

    def __call__(self, one: Surveyed) -> dict[str, Value]:
        """Prepare one host; return its settings as they are to be named there."""
        say = self.say(one.name)
        new = deploy.send(one, self.ours)
        if new:
            say("the code is new")
        settings = deploy.requirements(one, self._fleet.settings[one.name])
        if new or one.shared:
            # A host by itself brings its packages up to date when it is started, too.
            deploy.install(one, settings, say, self._wheels if offline_bundle.needed(one) else None)
        return settings

    def _provide(self, hosts: Collection[Surveyed]) -> None:
        """Have a bundle for the hosts that need one; nothing is made where nothing is to be installed."""
        cut_off = [one for one in hosts if offline_bundle.needed(one) and deploy.outdated(one, self.ours)]
        if cut_off:
            self._wheels = offline_bundle.provide(
                cut_off, self._fleet.home, self.ours.digest, os.environ, self._console.phase
            )

    def controller(self, one: Surveyed) -> Controller:
        """Return the controller of a host, which is prepared first."""
        self._provide([one])
        return There(one, self(one), self.say(one.name), self.ours)

    def say(self, name: str) -> Callable[[str], None]:
        """Return what tells the user of a host's progress."""
        return lambda line: self._console.note(f"[{name}] {line}")


def _leader(one: Surveyed, hosts: Mapping[str, Surveyed]) -> str:
    """Return the host that installs for all that share its home."""
    return next((name for name in hosts if name in one.shared), one.name)
