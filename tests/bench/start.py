"""Points `start` and `cost`: engines usable from a stopped cluster, and what they use by then."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import processes, usable
from tests.bench.results import Row
from tests.bench.site import BenchError, Ipcluster, Site, finished

_THEM = "ipcluster start"


@dataclass(frozen=True)
class Options:
    """How much is measured: ``patience`` and ``idle`` are in seconds.

    ``fleet`` is hosts and engines on each of them; ``hosts``, ``ssh_hosts``, ``instances`` and ``booting`` are numbers
    of machines.
    """

    repetitions: int
    engines: Sequence[int]
    cost_engines: int
    patience: float
    idle: float
    fleet: tuple[int, int]
    hosts: Sequence[int]
    ssh_hosts: Sequence[int]
    instances: Sequence[int]
    booting: Sequence[int]


@dataclass(frozen=True)
class Sample:
    """One start: seconds until usable, until the command returned; MB; CPU seconds, and those of idling."""

    usable: float
    returned: float
    memory: float
    processor: float
    idle: float


class Pair:
    """Our cluster and ipcluster's, on one virtualenv, never both at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ipcluster = Ipcluster(site.venv("ipcluster"), site)

    def prepare(self, engines: int) -> None:
        """Have both started once: files are written, bytecode is made, libraries are in memory."""
        site = self._site
        if not site.cncp_home.exists():
            site.run(site.baremetal(engines))
        else:
            site.run(site.cncp("up", "--quiet", f"--engines={engines}"))
        site.run(site.cncp("down", "--quiet"))
        self.theirs(engines=1, idle=0)

    def ours(self, engines: int, idle: float) -> Sample:
        """Start with ``cncp up``, measure, stop."""
        before, began = _waited_for(), time.monotonic()
        with self._site.started(self._site.cncp("up", "--quiet")) as process:
            try:
                usable.wait(self._site.connection_file, engines)
                ready = time.monotonic() - began
            except usable.NotUsable as error:
                process.terminate()
                raise BenchError(f"cncp up: {error}:\n{process.communicate()[0]}") from None
            said = process.communicate()[0]
            returned = time.monotonic() - began
            finished(process, said)
        sample = _look(self._site.folder, ready, returned, _waited_for() - before, idle)
        self._site.run(self._site.cncp("down", "--quiet"))
        return sample

    def theirs(self, engines: int, idle: float) -> Sample:
        """Start with ``ipcluster start``, measure, stop."""
        began = time.monotonic()
        process = self._ipcluster.start(engines)
        try:
            usable.wait(self._ipcluster.connection_file, engines)
            ready = time.monotonic() - began
            return _look(self._site.folder, ready, ready, 0, idle)
        except usable.NotUsable as error:
            raise BenchError(f"ipcluster start -n {engines}: {error}") from None
        finally:
            self._ipcluster.stop(process)


def _waited_for() -> float:
    """Return the processor time of all children this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _look(folder: Path, ready: float, returned: float, command: float, idle: float) -> Sample:
    running = processes.of(folder)
    began = processes.seconds(running)
    memory = processes.memory(running)
    processor = began + command
    if idle:
        time.sleep(idle)
    return Sample(ready, returned, memory, processor, processes.seconds(running) - began)


def start(site: Site, options: Options) -> list[Row]:
    """Measure the time until N engines are usable."""
    pair, rows = Pair(site), []
    for engines in options.engines:
        # What was aimed at: a third of their time where a machine is small, and its engines many.
        aim = 1 / 3 if engines in (8, 16) else None
        row = Row("start", f"{engines} engines usable", "s", _THEM, aim)
        returned = Row("start", f"{engines} engines: cncp up returns", "s")
        rows += [row, returned]
        pair.prepare(engines)
        for _ in range(options.repetitions):
            row.busy.append(processes.wait_for_quiet(options.patience))
            sample = pair.ours(engines, 0)
            row.ours.append(sample.usable)
            returned.ours.append(sample.returned)
            row.busy.append(processes.wait_for_quiet(options.patience))
            row.theirs.append(pair.theirs(engines, 0).usable)
    return rows


def cost(site: Site, options: Options) -> list[Row]:
    """Measure memory and processor time, of all processes of a cluster for each of its engines."""
    pair, engines = Pair(site), options.cost_engines
    names = (
        ("memory", f"of {engines} engines and all that serves them", "MB"),
        ("memory", "for each engine", "MB"),
        ("CPU", "for each engine until usable", "s"),
        ("CPU", f"idle for {options.idle:g} s, for each engine", "s"),
    )
    rows = [Row(point, quantity, unit, _THEM) for point, quantity, unit in names]
    pair.prepare(engines)
    for _ in range(options.repetitions):
        for side in ("ours", "theirs"):
            busy = processes.wait_for_quiet(options.patience)
            sample: Sample = getattr(pair, side)(engines, options.idle)
            values = (sample.memory, sample.memory / engines, sample.processor / engines, sample.idle / engines)
            for row, value in zip(rows, values, strict=True):
                getattr(row, side).append(value)
                row.busy.append(busy)
    return rows
