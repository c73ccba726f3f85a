"""Hosts of the lab as a cluster's: a master and as many hosts as the points need, made and removed with a run.

What is timed runs on the master: the modules that do so are sent there (`Farm.measure`).
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from tests.bench import ROOT
from tests.bench.site import BenchError
from tests.install.support import entries
from tests.lab.fleets import Fleet, assemble
from tests.lab.host import Host
from tests.lab.needs import missing
from tests.lab.nspawn import Lab, LabError
from tests.lab.serve import serve_directory
from tests.lab.site import Site
from tests.lab.sites import fetch_locked, fetch_wheels, settle

_PACKAGES = ("cron", "python3-venv")
_USER = "bob"
_TIMEOUT = 1800.0  # s; many installations at once on few processors take minutes

_FABRIC = ("bcrypt", "cffi", "cryptography", "deprecated", "fabric", "paramiko", "pycparser", "pynacl", "wrapt")
"""What the point `ssh` measures beside, and what that needs."""

_SENT = ("usable", "clock", "transports")
"""Modules of this folder that run on the master."""

_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_INSTANCES_EACH = 10  # of root on a host that boots; 7 later

CRAMPED = "skipped: too little room for the hosts; make some: sysctl fs.inotify.max_user_instances=1024"
"""What is said of sizes that cannot be measured."""

SERVICES = ("cncp.remote serve", "ipyparallel.controller", "ipyparallel.engine")
"""What is on the command lines of controllers and engines, of either side."""

STARTER = "ipyparallel.cluster start"
"""What is on the command line of the process that keeps ipcluster's clusters."""


def refusal() -> str:
    """Say why there can be no hosts on this machine, "" where there can."""
    lacks = missing()
    return f"skipped: {'; '.join(lacks)}" if lacks else ""


def room() -> int:
    """Return how many hosts beside a master the kernel's limit on inotify leaves room for; at 128 few of them boot."""
    used = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == 0:
                used += sum(os.readlink(path) == "anon_inode:inotify" for path in _files(process.pid))
    return (int(_INSTANCES.read_text()) - used) // _INSTANCES_EACH - 1


def _files(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


class Farm:
    """A master, on which cncp is installed, and hosts f1, f2 ... that let it in."""

    def __init__(self, fleet: Fleet, lab: Lab) -> None:
        self.fleet = fleet
        self.lab = lab
        self.master = fleet.master
        self._work = f"{self.master.home}/bench"

    @property
    def hosts(self) -> list[Host]:
        """The hosts, without the master."""
        return [site.host for site in self.fleet.hosts.values()]

    @property
    def python(self) -> str:
        """The virtualenv's Python: at the same place on all of them."""
        return f"{self.master.state}/venv/bin/python"

    def install(self) -> None:
        """Make the master's virtualenv, and send what measures."""
        self.run(["bash", f"{self.master.work}/baremetal.sh", "--install-only"])
        for name in _SENT:
            source = (ROOT / "tests" / "bench" / f"{name}.py").read_text()
            self.master.host.write(f"{self._work}/tests/bench/{name}.py", source, _USER)

    def run(self, words: list[str], **variables: str) -> str:
        """Run a command as a login of the master's user; return what it printed. Raises BenchError."""
        try:
            return self.master.host.run(words, _USER, env=variables or None, timeout=_TIMEOUT).stdout
        except LabError as error:
            raise BenchError(f"on the master: {error}") from None

    def measure(self, module: str, *words: str) -> dict[str, Any]:
        """Run a module of this folder on the master; return what it measured."""
        said = self.run([self.python, "-s", "-m", f"tests.bench.{module}", *words], PYTHONPATH=self._work)
        return dict(json.loads(said.splitlines()[-1]))

    def file(self, hosts: int, engines: int) -> str:
        """Write a cluster.toml of that many hosts with so many engines each; return its path."""
        path = f"{self.master.home}/{hosts}x{engines}.toml"
        # Like the other points by the embedded engine, because Chef is measured by itself.
        pool = f'[[pool]]\nhosts = ["f[1-{hosts}]"]\nengines = {engines}\nthreads = 1\n'
        self.master.host.write(path, f'converge = "embedded"\n{pool}', _USER)
        return path

    def cncp(self, verb: str, file: str) -> list[str]:
        """Return the command of a verb on the cluster that a file describes."""
        return [self.python, "-s", "-m", "cncp", verb, "--quiet", f"--file={file}"]

    def logins(self, hosts: int) -> int:
        """Count the logins that the sshds of the first hosts have let in."""
        accepted = f"Accepted publickey for {_USER} "
        return sum(host.journal("--unit=ssh", "--output=cat").count(accepted) for host in self.hosts[:hosts])

    def stop(self, command: Callable[[], object]) -> float:
        """Have a cluster stopped; return seconds until that was said to be done and none of its processes is left."""
        began = time.monotonic()
        command()
        while left := self.running(*SERVICES, STARTER):
            if time.monotonic() - began > _TIMEOUT:
                raise BenchError(f"not stopped: {', '.join(sorted({line(process) for process in left}))}")
            time.sleep(0.1)
        return time.monotonic() - began

    def running(self, *words: str) -> list[psutil.Process]:
        """Return the processes on the master and the hosts that have one of these words on their command lines."""
        machines = [self.master.host, *self.hosts]
        return [
            process for host in machines for process in processes(host) if any(word in line(process) for word in words)
        ]


def processes(host: Host) -> list[psutil.Process]:
    """Return the processes of a host, as they are seen from this machine."""
    found = []
    for pid in host.machine.group.pids():
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


def line(process: psutil.Process) -> str:
    """Return a command line, "" of a process that is gone."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@contextlib.contextmanager
def farm(hosts: int) -> Iterator[Farm]:
    """Boot a master and hosts, install the master, and remove all of it, however this ends."""
    try:
        with tempfile.TemporaryDirectory(prefix="cncp-bench-") as wheels, Lab() as lab:
            fetch_wheels(Path(wheels))
            theirs = Path(wheels) / "fabric.txt"
            theirs.write_text(entries((ROOT / "bootstrap" / "locks" / "dev.txt").read_text(), _FABRIC))
            fetch_locked(Path(wheels), theirs)
            fetch_locked(Path(wheels), ROOT / "bootstrap" / "locks" / "ec2.txt")
            with serve_directory(Path(wheels), lab.address) as index:
                machines = [lab.host(f"f{number}", extra=_PACKAGES, users=(_USER,)) for number in range(hosts + 1)]
                with ThreadPoolExecutor(4) as pool:
                    list(pool.map(Host.boot, machines))
                made = Farm(assemble(_master(machines[0], index), machines[1:]), lab)
                made.install()
                yield made
    except LabError as error:
        raise BenchError(str(error)) from None


def _master(host: Host, index: str) -> Site:
    return settle(host, _USER, index)
