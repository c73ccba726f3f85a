"""Code and packages brought to hosts before anything is started on them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import ClassVar

from cncp.config.parsers import Value
from cncp.console import Console
from cncp.fleet import deploy, offline_bundle
from cncp.fleet.controller_host import There
from cncp.fleet.model import Fleet, Surveyed
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Outcome, at_once


class InstallController(Phase):
    """The controller's host is installed by itself, for the others wait for it."""

    name: ClassVar = "install-controller"

    def wanted(self, run: Run, report: Report) -> bool:
        """Tell whether it is another machine than this one, on which everything is installed already."""
        return run.here is None

    def run(self, run: Run, report: Report) -> None:
        """Install it, and note how it is reached."""
        host = report.surveyed[run.head.name]
        settings = Installer(run.fleet, run.code, run.console).install(host)
        report.controller = There(host, settings, run.say(host.name), run.code)


class InstallHosts(Phase):
    """All hosts are installed at the same time, those that share a home by one of them."""

    name: ClassVar = "install-hosts"

    def run(self, run: Run, report: Report) -> None:
        """Install, and note the settings each is to be started with."""
        installed = Installer(run.fleet, run.code, run.console).install_all(report.ready(run.fleet))
        report.settings = installed.results
        report.fail(installed.failures)


class Installer:
    """Brings code and packages to hosts, once to those that share a home."""

    def __init__(self, fleet: Fleet, code: deploy.Code, console: Console) -> None:
        self._fleet = fleet
        self._code = code
        self._console = console

    def install_all(self, hosts: Mapping[str, Surveyed]) -> Outcome[dict[str, Value]]:
        """Install hosts at the same time; return the settings each is to be started with."""
        wheels = self._wheels(hosts.values())
        leaders = dict.fromkeys(_leader(host, hosts) for host in hosts.values())
        installed = at_once({name: hosts[name] for name in leaders}, lambda host: self._bring(host, wheels))
        results: dict[str, dict[str, Value]] = {}
        failures = dict(installed.failures)
        for name, host in hosts.items():
            leader = _leader(host, hosts)
            if leader in installed.failures:
                error = installed.failures[leader]
                failures[name] = HostError(name, error.message, error.hint)
            else:
                changed = installed.results[leader]
                own = {**self._fleet.settings[name]}
                if "requirements" in changed:
                    own["requirements"] = changed["requirements"]
                results[name] = own
        return Outcome(results, failures)

    def install(self, host: Surveyed) -> dict[str, Value]:
        """Install one host; return its settings as they are to be named there. Raises HostError."""
        return self._bring(host, self._wheels([host]))

    def _bring(self, host: Surveyed, wheels: bytes | None) -> dict[str, Value]:
        def say(line: str) -> None:
            self._console.note(f"[{host.name}] {line}")

        new = deploy.send(host, self._code)
        if new:
            say("the code is new")
        settings = deploy.brought(host.host, self._fleet.settings[host.name], host.root)
        if new or host.shared:
            # A host by itself brings its packages up to date when it is started, too.
            deploy.install(host, settings, say, wheels if offline_bundle.needed(host) else None)
        return settings

    def _wheels(self, hosts: Collection[Surveyed]) -> bytes | None:
        """Return a bundle for the hosts that need one; nothing is made where nothing is to be installed."""
        cut_off = [host for host in hosts if offline_bundle.needed(host) and deploy.outdated(host, self._code)]
        if not cut_off:
            return None
        home, digest = self._fleet.home, self._code.digest
        return offline_bundle.provide(cut_off, home, digest, os.environ, self._console.phase)


def _leader(host: Surveyed, hosts: Mapping[str, Surveyed]) -> str:
    """Return the host that installs for all that share its home."""
    return next((name for name in hosts if name in host.shared), host.name)
