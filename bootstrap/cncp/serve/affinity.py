"""Which processors an engine may use: its own cores, or those of one NUMA node."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

NODES = Path("/sys/devices/system/node")
"""Where Linux says which processors are near which memory (sysfs, devices-system-node)."""


def share(
    pin: str, number: int, threads: int, allowed: Collection[int], nodes: Mapping[int, Collection[int]]
) -> set[int]:
    """Return the processors for engine ``number``; none where it is not to be pinned.

    With ``cores`` it has as many neighbouring ones as it has threads, beginning where the engine
    before it ends: so a share depends on no other engine, and scaling moves nobody. More engines than
    there is room for begin from the first processor again. With ``numa`` engines go round the nodes.
    """
    cpus = sorted(allowed)
    if pin == "cores":
        return {cpus[(number * threads + thread) % len(cpus)] for thread in range(min(threads, len(cpus)))}
    if pin == "numa":
        near = [mine for _, cpus_of in sorted(nodes.items()) if (mine := set(cpus_of) & set(cpus))]
        return near[number % len(near)] if near else set()
    return set()


def numa_nodes(folder: Path = NODES) -> dict[int, list[int]]:
    """Return the processors of every NUMA node; nothing where the system does not say."""
    found = {}
    for path in folder.glob("node[0-9]*/cpulist"):
        try:
            found[int(path.parent.name.removeprefix("node"))] = parsed(path.read_text())
        except (OSError, ValueError):
            continue
    return found


def parsed(text: str) -> list[int]:
    """Return the numbers in a list of the kernel's, such as 0-3,8-11 (cpuset(7), "List format")."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if bounds is None:
            raise ValueError(part)
        found.extend(range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1))
    return found


def apply(pin: str, number: int, threads: int) -> Sequence[int]:
    """Pin this process, before it has other threads; return the processors it may use."""
    mine = share(pin, number, threads, os.sched_getaffinity(0), numa_nodes() if pin == "numa" else {})
    if mine:
        os.sched_setaffinity(0, mine)
    return sorted(os.sched_getaffinity(0))
