"""Fixtures for clusters of several machines: a master that may log in to all hosts by name."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .host import Host
from .site import Site
from .sites import MakeSite

ASK = """
import json, socket, sys
import ipyparallel
client = ipyparallel.Client(profile=sys.argv[1], timeout=20)
print(json.dumps(client[:].apply_async(socket.gethostname).get(timeout=20)))
"""

AWAIT = """
import json, socket, sys, time
import ipyparallel
wanted, deadline = json.loads(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while True:
    try:
        with ipyparallel.Client(profile=sys.argv[3], timeout=5) as client:
            names = sorted(client[:].apply_async(socket.gethostname).get(timeout=5))
            seen = len(names) if isinstance(wanted, int) else names
    except Exception as error:
        seen = repr(error)
    if seen == wanted:
        break
    if time.monotonic() > deadline:
        sys.exit(f"not in time: engines on {wanted}, but {seen}")
    time.sleep(0.1)
"""
"""Asks again and again in one process: to start a Python for each question takes a processor to itself."""


def await_engines(site: Site, names: Sequence[str] | int, timeout: float = 60, profile: str = "cncp") -> None:
    """Wait until engines on these hosts, or so many of them, and no others compute."""
    wanted = json.dumps(names if isinstance(names, int) else sorted(names))
    argv = [f"{site.state}/venv/bin/python", "-c", AWAIT, wanted, str(timeout), profile]
    site.host.run(argv, site.user, timeout=timeout + 30)


class Fleet:
    """A master with our code in bob's home, and hosts that have nothing but bob's account."""

    def __init__(self, master: Site, hosts: Sequence[Site]) -> None:
        self.master = master
        self.hosts = {site.host.name: site for site in hosts}

    def file(self, content: str) -> None:
        """Write cluster.toml into the master's home, where commands of a login find it."""
        self.master.host.write(f"{self.master.home}/cluster.toml", textwrap.dedent(content), self.master.user)

    def ask_engines(self, profile: str = "cncp") -> list[str]:
        """Have every engine say which host it is on."""
        return list(json.loads(self.master.python(ASK, profile).stdout))

    def await_engines(self, names: Sequence[str], timeout: float = 90) -> None:
        """Wait until engines on these hosts, and no others, compute."""
        await_engines(self.master, names, timeout)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return `cncp status --json` by host and service."""
        shown = json.loads(self.master.cncp("status", "--json").stdout)
        return {f"{service['host']} {service['name']}": service for service in shown}

    def ids(self) -> dict[str, int | None]:
        """Return the engines' ids by host and service."""
        return {name: service["id"] for name, service in self.status().items()}

    def trees(self) -> dict[str, dict[str, str]]:
        """Return what is on every machine, but for what ssh itself learns."""
        return {
            site.host.name: {path: content for path, content in site.tree().items() if ".ssh" not in path}
            for site in (self.master, *self.hosts.values())
        }


def differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """Return what is not as it was, a line a path."""
    return [
        f"{host} {path}: {before[host].get(path, 'nothing')} -> {after[host].get(path, 'nothing')}"
        for host in before
        for path in sorted({*before[host], *after[host]})
        if before[host].get(path) != after[host].get(path)
    ]


MakeFleet = Callable[..., Fleet]


def trust(master: Site, others: Sequence[Host], user: str = "bob") -> None:
    """Give the master's user a key, and have every host let it in; names are known to the master."""
    host = master.host
    host.exec(["runuser", "-u", master.user, "--", "mkdir", "-p", "-m", "700", f"{master.home}/.ssh"])
    key = f"{master.home}/.ssh/id_ed25519"
    host.exec(["runuser", "-u", master.user, "--", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    public = host.read(f"{key}.pub")
    known = "".join(f"{other.address} {other.name}\n" for other in others)
    host.exec(["sh", "-c", "cat >> /etc/hosts"], input=known)
    for other in others:
        other.exec(["install", "-d", "-m", "700", "-o", user, "-g", user, f"/home/{user}/.ssh"])
        path = f"/home/{user}/.ssh/authorized_keys"
        other.exec(["sh", "-c", f"cat > {path} && chown {user}: {path} && chmod 600 {path}"], input=public)


def assemble(master: Site, machines: Sequence[Host], *, trusted: bool = True) -> Fleet:
    """Make a fleet of a master and hosts that run; their pip finds what its pip finds.

    The master may log in to all of them, unless they are not ``trusted`` to let it in yet.
    """
    if trusted:
        trust(master, machines)
    hosts = [Site(machine, "bob") for machine in machines]
    for site in hosts:
        site.host.write("/etc/pip.conf", master.host.read("/etc/pip.conf"))
    return Fleet(master, hosts)


@pytest.fixture(scope="module")
def make_fleet(make_host: Callable[..., Host], make_site: MakeSite, index: str) -> MakeFleet:
    """Make a master NAME0 and hosts NAME1, NAME2 ...; they reach nothing but one another and the index.

    Hosts whose numbers are in ``shared`` have the folder ``home`` for their /home; where they are not
    ``trusted``, passwords alone let anyone in.
    """

    def make(
        name: str,
        count: int,
        packages: Sequence[str] = ("cron", "python3-venv"),
        shared: Sequence[int] = (),
        home: Path | None = None,
        *,
        trusted: bool = True,
    ) -> Fleet:
        machines = [
            make_host(
                f"{name}{number}",
                "bookworm",
                packages,
                users=("bob",),
                shared_home=home if number in shared else None,
            )
            for number in range(count + 1)
        ]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Host.boot, machines))
        return assemble(make_site(machines[0], "bob"), machines[1:], trusted=trusted)

    return make
