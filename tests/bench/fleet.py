"""Point `fleet`: a cluster of several hosts from down to usable and back, beside ipyparallel's launchers over ssh."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable

from tests.bench import processes
from tests.bench.farm import STARTER, Farm
from tests.bench.results import Row
from tests.bench.start import Options
from tests.bench.watch import Watch

_THEM = "ipcluster, SSH launchers"
_AIM = 0.1
_PROFILE = "plain"
_TIMEOUT = 600.0  # s; their launchers log in one after another

_CONFIGURATION = """
c = get_config()
c.Cluster.engine_launcher_class = "ssh"
c.Cluster.controller_ip = "*"
c.Cluster.controller_location = "{address}"
c.SSHEngineSetLauncher.engines = {engines}
c.SSHLauncher.remote_python = "{python}"
"""
"""As ipyparallel's documentation has it; controllers listen on loopback without."""


class Pair:
    """Our cluster and ipyparallel's, on the same hosts and virtualenvs, never both at a time.

    ``start`` of each returns the seconds until usable and until returned, ``stop`` those until nothing is left.
    """

    def __init__(self, farm: Farm, hosts: int, engines: int) -> None:
        self.farm = farm
        self._engines = str(hosts * engines)
        self._file = farm.file(hosts, engines)
        self._profile = f"{farm.master.home}/.ipython/profile_{_PROFILE}"
        names = {host.name: engines for host in farm.hosts[:hosts]}
        configuration = textwrap.dedent(
            _CONFIGURATION.format(address=farm.master.host.address, engines=names, python=farm.python)
        )
        farm.master.host.write(f"{self._profile}/ipcluster_config.py", configuration, farm.master.user)

    def prepare(self) -> None:
        """Install the hosts."""
        self.farm.run(self.farm.cncp("up", self._file))
        self.stop_ours()

    def start_ours(self) -> tuple[float, float]:
        """Start with ``cncp up``."""
        file = f"{self.farm.master.home}/.ipython/profile_cncp/security/ipcontroller-client.json"
        taken = self.farm.measure("clock", file, self._engines, str(_TIMEOUT), *self.farm.cncp("up", self._file))
        return taken["usable"], taken["returned"]

    def stop_ours(self) -> float:
        """Stop with ``cncp down``."""
        return self.farm.stop(lambda: self.farm.run(self.farm.cncp("down", self._file)))

    def start_theirs(self) -> tuple[float, float]:
        """Start with ``ipcluster start``, which goes on for as long as its cluster."""
        file = f"{self._profile}/security/ipcontroller-client.json"
        command = [self.farm.python, "-s", "-m", *STARTER.split(), f"--profile={_PROFILE}", "-n", self._engines]
        taken = self.farm.measure("clock", "--leave", file, self._engines, str(_TIMEOUT), *command)
        return taken["usable"], taken["returned"]

    def stop_theirs(self) -> float:
        """Stop as Ctrl-C would; ``ipcluster stop`` and the process it stops would get in each other's way."""
        return self.farm.stop(self._interrupt)

    def _interrupt(self) -> None:
        for process in self.farm.running(STARTER):
            process.send_signal(signal.SIGINT)


def fleet(farm: Farm, options: Options) -> list[Row]:
    """Measure start and stop of both, and what they take of ssh and of memory."""
    hosts, engines = options.fleet
    size = f"{hosts} hosts x {engines} engines"
    usable, stopped = (Row("fleet", f"{size} {state}", "s", _THEM, _AIM) for state in ("usable", "stopped"))
    returned = Row("fleet", f"{size}: cncp up returns", "s")
    logins = [Row("fleet", f"logins to each host, {verb}", "", _THEM) for verb in ("start", "stop")]
    memory = Row("fleet", f"{size}: peak memory of what starts them", "MB", _THEM)
    pair = Pair(farm, hosts, engines)
    pair.prepare()
    sides: dict[str, tuple[Callable[[], tuple[float, float]], Callable[[], float]]] = {
        "ours": (pair.start_ours, pair.stop_ours),
        "theirs": (pair.start_theirs, pair.stop_theirs),
    }
    for side, (start, stop) in sides.items():
        # Also the warm start of both.
        with Watch(farm.master.host) as watch:
            start()
        getattr(memory, side).append(watch.peak)
        stop()
    for _ in range(options.repetitions):
        for side, (start, stop) in sides.items():
            usable.busy.append(processes.wait_for_quiet(options.patience))
            counts = [farm.logins(hosts)]
            ready, end = start()
            counts.append(farm.logins(hosts))
            getattr(usable, side).append(ready)
            if side == "ours":
                returned.ours.append(end)
            getattr(stopped, side).append(stop())
            counts.append(farm.logins(hosts))
            for row, before, after in zip(logins, counts, counts[1:], strict=False):
                getattr(row, side).append((after - before) / hosts)
    return [usable, returned, stopped, *logins, memory]
