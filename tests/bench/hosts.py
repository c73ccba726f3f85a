"""Point `hosts`: how `cncp up` grows with the number of hosts; an engine on each."""

from __future__ import annotations

import time

import psutil

from tests.bench import processes
from tests.bench.farm import Farm
from tests.bench.results import Row
from tests.bench.start import Options
from tests.bench.watch import Watch

_AIM = 1.5  # of 16 hosts beside one


def hosts(farm: Farm, options: Options) -> list[Row]:
    """Measure `cncp up` of more and more hosts from down, and once more with nothing to do.

    All hosts are on this machine and share its processors, which the hosts of a real cluster do
    not: the share in use, and what a further host costs, say how far that is the limit.
    """
    files = {count: farm.file(count, 1) for count in options.hosts}
    most = max(files)
    rows = {count: _rows(count) for count in files}
    memory = [Row("hosts", f"{most} hosts: peak memory of cncp up{part}", "MB") for part in ("", ", its ssh alone")]
    farm.run(farm.cncp("up", files[most]))
    _down(farm, files[most])
    with Watch(farm.master.host) as watch:
        farm.run(farm.cncp("up", files[most]))
    _down(farm, files[most])
    for row, value in zip(memory, (watch.peak, watch.ssh), strict=True):
        row.ours.append(value)
    for _ in range(options.repetitions):
        for count, file in files.items():
            up, noop, share = rows[count]
            for row in (up, noop):
                row.busy.append(processes.wait_for_quiet(options.patience))
                psutil.cpu_percent()  # it tells of the time since it was last asked
                began = time.monotonic()
                farm.run(farm.cncp("up", file))
                row.ours.append(time.monotonic() - began)
                if row is up:
                    share.ours.append(psutil.cpu_percent())
            _down(farm, file)
    fewest = rows[min(files)]
    for count, group in rows.items():
        for row, first in zip(group[:2], fewest[:2], strict=True):
            row.theirs = [*first.ours] if count != min(files) else []
    return [row for group in rows.values() for row in group] + memory


def _down(farm: Farm, file: str) -> None:
    farm.stop(lambda: farm.run(farm.cncp("down", file)))


def _rows(count: int) -> tuple[Row, Row, Row]:
    name = f"{count} host{'s' * (count > 1)}"
    against = "" if count == 1 else "the fewest hosts"
    return (
        Row("hosts", f"{name}: cncp up", "s", against, _AIM if count == 16 else None),
        Row("hosts", f"{name}: cncp up, nothing to do", "s", against),
        Row("hosts", f"{name}: processors in use", "%"),
    )
