"""A first cluster.toml, written from what is found on the hosts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cncp.errors import CncpError
from cncp.fleet.crew import Crew
from cncp.fleet.facts import counted, look, size
from cncp.fleet.survey import survey
from cncp.inventory import HostSpec


@dataclass(frozen=True)
class Found:
    """What is known of the hosts: facts by name, failures by name, and who shares a home folder."""

    facts: Mapping[str, Mapping[str, Any]]
    failures: Mapping[str, CncpError]
    homes: tuple[tuple[str, ...], ...] = ()


def gather(specs: tuple[HostSpec, ...], timeout: float, *, strict: bool) -> Found:
    """Look at all hosts at once; what `up` would stumble over is found here already."""
    with Crew(specs, strict=strict) as crew:
        seen = crew.each(lambda one: look(one, timeout))
        able = {name: one for name, one in crew.hosts.items() if name in seen.results}
        surveyed = survey(able)
    failures = {**crew.failures, **seen.failures, **surveyed.failures}
    return Found(
        {one.name: seen.results[one.name] for one in specs if one.name in surveyed.hosts},
        {one.name: failures[one.name] for one in specs if one.name in failures},
        tuple(sorted({one.shared for one in surveyed.hosts.values() if one.shared})),
    )


def text(specs: Sequence[HostSpec], found: Found) -> str:
    """Return the cluster.toml."""
    return "".join(f"{line}\n" for line in _lines(specs, found))


def _lines(specs: Sequence[HostSpec], found: Found) -> Iterator[str]:
    yield "# What cncp init found. Look through it, keep it as cluster.toml, then: cncp up"
    yield '# The controller runs on the machine where that is run; elsewhere with: controller = "HOST"'
    for group in found.homes:
        yield f"# One home folder, with one installation: {_words(fold(group))}"
    pools: dict[tuple[Any, ...], list[HostSpec]] = {}
    for spec in specs:
        if spec.name in found.facts:
            pools.setdefault(_shape(found.facts[spec.name]), []).append(spec)
    for pool in pools.values():
        yield ""
        yield from _pool(pool, found)
    if found.failures:
        yield ""
    for name, error in found.failures.items():
        yield f"# {name} is left out: {_line(error.message)} ({_line(error.hint)})"


def _pool(pool: Sequence[HostSpec], found: Found) -> Iterator[str]:
    facts = [found.facts[spec.name] for spec in pool]
    first = facts[0]
    gpus = counted(first["gpus"]) or "no GPU"
    yield "# " + _line(f"a host: {first['cores']} cores, {size(first['memory'])}, {gpus}; {first['cpu']}")
    systems = dict.fromkeys(f"{one['os']}, Python {one['pythons'][-1]}" for one in facts)
    yield "# " + _line("; ".join(systems))
    yield "[[pool]]"
    yield f"hosts = [{', '.join(json.dumps(one) for one in fold(map(_written, pool)))}]"
    if first["gpus"]:
        yield 'engines = "gpus"  # one a GPU; one a core: "cores"'
    else:
        yield f"engines = {first['cores']}  # one a core; one a host that uses all cores: 1"
    if all(one["systemd"] for one in facts) and not first["gpus"]:
        share = first["memory"] // 2**20 // first["cores"]
        # Below that an engine does not get through its own imports.
        yield from [f'# memory = "{share}M"  # an equal share, enforced by systemd'] if share >= 128 else []


def _shape(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what hosts of one pool have in common: memory to a sixteenth, which firmware takes some of."""
    return facts["cores"], round(facts["memory"] / 2**30, 0 if facts["memory"] >= 2**33 else 1), tuple(facts["gpus"])


def _written(spec: HostSpec) -> str:
    return (f"{spec.user}@" if spec.user else "") + spec.name + (f":{spec.port}" if spec.port else "")


def _line(said: str) -> str:
    """Return what a host said as part of one line of comment."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", said).strip()


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)


def fold(names: Iterable[str]) -> list[str]:
    """Return names with those that differ in one number as ranges: gold2, gold3 are gold[2-3].

    The inverse of ``inventory.expand``; the order is that of the first name of each range.
    """
    split = [_split(name) for name in names]
    padded = {(before, after, len(number)) for before, number, after in split if re.match(r"0\d", number)}
    groups: dict[tuple[str, str, int], list[str]] = {}
    for before, number, after in split:
        width = len(number) if (before, after, len(number)) in padded else 0
        groups.setdefault((before, after, width), []).append(number)
    return [f"{before}{_range(numbers)}{after}" for (before, after, _), numbers in groups.items()]


def _split(name: str) -> tuple[str, str, str]:
    """Split a name at its last number: of an address the last of all, else the last of the first label."""
    begin, end = name.find("@") + 1, len(name.partition(":")[0])
    if not re.fullmatch(r"[0-9.]+", name[begin:end]):
        end = begin + len(name[begin:end].partition(".")[0])
    found = re.match(r"(.*?)([0-9]{1,9})([^0-9]*)$", name[begin:end])
    if found is None:
        return name, "", ""
    return name[:begin] + found[1], found[2], found[3] + name[end:]


def _range(numbers: Sequence[str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    runs: list[list[str]] = []
    for number in sorted(numbers, key=int):
        if runs and int(runs[-1][-1]) + 1 == int(number):
            runs[-1].append(number)
        else:
            runs.append([number])
    return "[" + ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"
