"""Point `ssh`: one multiplexed connection of OpenSSH a host, beside Fabric over paramiko."""

from __future__ import annotations

from tests.bench import processes
from tests.bench.farm import Farm
from tests.bench.results import Row
from tests.bench.start import Options
from tests.bench.watch import Watch

_SIDES = {"ours": "ours", "theirs": "fabric"}
_THEM = "Fabric, paramiko"
_QUANTITIES = {
    "seconds": ("log in, 6 commands, 100 KB", "s"),
    "processor": ("processor time of that", "s"),
    "imports": ("imports before it", "s"),
}


def ssh(farm: Farm, options: Options) -> list[Row]:
    """Measure the same work on all hosts at once, from the master; memory in a run of its own."""
    rows: list[Row] = []
    farm.run([farm.python, "-I", "-m", "pip", "install", "--quiet", "fabric"])
    for count in options.ssh_hosts:
        names = [host.name for host in farm.hosts[:count]]
        timed = {
            key: Row("ssh", f"{count} hosts: {quantity}", unit, _THEM) for key, (quantity, unit) in _QUANTITIES.items()
        }
        memory = Row("ssh", f"{count} hosts: peak memory", "MB", _THEM)
        rows += [*timed.values(), memory]
        for _ in range(options.repetitions):
            for side, transport in _SIDES.items():
                # Also the runs after which host keys are known and libraries in memory.
                with Watch(farm.master.host) as watch:
                    farm.measure("transports", transport, *names)
                getattr(memory, side).append(watch.peak)
        for _ in range(options.repetitions):
            for side, transport in _SIDES.items():
                busy = processes.wait_for_quiet(options.patience)
                sample = farm.measure("transports", transport, *names)
                for key, row in timed.items():
                    getattr(row, side).append(sample[key])
                    row.busy.append(busy)
    return rows
