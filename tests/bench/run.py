"""Measure the points that are asked for, and say so in a table.

Nothing here passes or fails on time: the table has medians, ratios and aims, and the machine's own
say. Python is that of the test environment, whose ipyparallel is the one in the cluster's lock.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cncp.console import Console
from tests.bench import blobs, cold, nodes, noop, results, start
from tests.bench.site import BenchError, Site, site
from tests.bench.start import Options

_FULL = Options(
    repetitions=3,
    engines=(1, 4, 8, 16, 32),
    cost_engines=8,
    patience=30,
    idle=10,
    fleet=(4, 4),
    hosts=(1, 2, 4, 8, 16),
    ssh_hosts=(1, 4, 16),
    instances=(2, 8),
    booting=(1, 4),
)
_QUICK = Options(
    repetitions=1,
    engines=(2, 8),
    cost_engines=4,
    patience=3,
    idle=3,
    fleet=(2, 2),
    hosts=(1, 2),
    ssh_hosts=(2,),
    instances=(2,),
    booting=(1,),
)

_INSTALLED: dict[str, Callable[[Site, Options], list[results.Row]]] = {
    "start": start.start,
    "cost": start.cost,
    "noop": noop.noop,
}
"""Points that are measured on one installation; `cold` makes its own."""

_ON_HOSTS = ("fleet", "hosts", "ssh")
"""Points that are measured on hosts of the lab."""

POINTS = (*_INSTALLED, "cold", *_ON_HOSTS, "instances", "boot", "blobs", "nodes")
"""All points, in the order in which they are measured."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="cncp beside what one would use else")
    parser.add_argument("--quick", action="store_true", help="one repetition, few engines and hosts")
    parser.add_argument("--only", action="append", choices=POINTS, help="this point; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to FILE")
    parser.add_argument(
        "--patience", type=float, metavar="SECONDS", help="how long to wait for other work to end before each sample"
    )
    return parser.parse_args(argv)


def measure(options: Options, points: list[str], say: Callable[[str], None]) -> list[results.Row]:
    """Measure the points that were asked for."""
    rows: list[results.Row] = []
    shared = [name for name in _INSTALLED if name in points]
    if shared:
        with site() as place:
            say("installing")
            place.run(place.baremetal(1))
            for name in shared:
                say(f"measuring: {name}")
                rows += _INSTALLED[name](place, options)
    if "cold" in points:
        say("measuring: cold")
        rows += cold.cold(options)
    on_hosts = [name for name in _ON_HOSTS if name in points]
    rows += _on_hosts(options, on_hosts, say) if on_hosts else []
    rows += _instances(options, say) if "instances" in points else []
    if "boot" in points:
        rows += _boot(options, say)
    if "blobs" in points:
        say("measuring: blobs")
        rows += blobs.blobs(options)
    if "nodes" in points:
        say("measuring: nodes")
        rows += nodes.nodes(options)
    return rows


def _boot(options: Options, say: Callable[[str], None]) -> list[results.Row]:
    """Measure machines that boot from the network."""
    from tests.bench import boot

    if reason := boot.refusal():
        return [results.Row("boot", "", "", skipped=reason)]
    say("measuring: boot")
    return boot.boot(options)


def _instances(options: Options, say: Callable[[str], None]) -> list[results.Row]:
    """Measure instances, whose controller's machine has no hosts."""
    from tests.bench import farm, instances

    if reason := farm.refusal():
        return [results.Row("instances", "", "", skipped=reason)]
    room = farm.room()
    fitting = [count for count in options.instances if count <= room]
    rows = [
        results.Row("instances", f"instances: {count}", "", skipped=farm.CRAMPED)
        for count in options.instances
        if count > room
    ]
    if not fitting:
        return rows
    say("measuring: instances")
    with farm.farm(0) as made:
        return rows + instances.instances(made, dataclasses.replace(options, instances=fitting))


def _on_hosts(options: Options, points: list[str], say: Callable[[str], None]) -> list[results.Row]:
    """Measure on hosts of the lab: as many as the largest of the points needs."""
    # What makes the hosts comes from the tests, which need more than the other points do.
    from tests.bench import farm, fleet, hosts, ssh

    if reason := farm.refusal():
        return [results.Row(name, "", "", skipped=reason) for name in points]
    work = {"fleet": fleet.fleet, "hosts": hosts.hosts, "ssh": ssh.ssh}
    sizes = {"fleet": [options.fleet[0]], "hosts": options.hosts, "ssh": options.ssh_hosts}
    room = farm.room()
    rows = [
        results.Row(name, f"hosts: {size}", "", skipped=farm.CRAMPED)
        for name in points
        for size in sizes[name]
        if size > room
    ]
    fitting = {name: [size for size in sizes[name] if size <= room] for name in points}
    options = dataclasses.replace(options, hosts=fitting.get("hosts", ()), ssh_hosts=fitting.get("ssh", ()))
    measured = [name for name in points if fitting[name]]
    if not measured:
        return rows
    count = max(max(fitting[name]) for name in measured)
    say(f"booting {count + 1} hosts, installing on the first")
    with farm.farm(count) as made:
        for name in measured:
            say(f"measuring: {name}")
            rows += work[name](made, options)
    return rows


def main(argv: Sequence[str]) -> int:
    """Measure, print, write; return the exit code."""
    given = arguments(argv)
    # Ended politely, the clusters are removed too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    options = _QUICK if given.quick else _FULL
    if given.patience is not None:
        options = dataclasses.replace(options, patience=given.patience)
    machine = results.machine()
    with tempfile.TemporaryDirectory(prefix="cncp-bench-") as scratch:
        # The client in this process keeps off the user's own profiles.
        os.environ["IPYTHONDIR"] = scratch
        try:
            rows = measure(options, given.only or [*POINTS], console.phase)
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    console.say(" · ".join(f"{name} {value}" for name, value in machine.items()))
    console.table(results.HEADER, [row.cells() for row in rows])
    load = [round(value, 2) for value in os.getloadavg()]
    console.say(f"load average at the end {load}; {console.elapsed():.0f} s in all")
    if given.json:
        document = {"machine": {**machine, "load_at_end": load}, "rows": [row.document() for row in rows]}
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0
