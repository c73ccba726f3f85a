"""A first cluster.toml, written from what is found on the hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cncp.config.hostlist import fold
from cncp.config.inventory import HostSpec
from cncp.config.writer import comment, written
from cncp.errors import CncpError
from cncp.fleet.hardware_report import Hardware, counted, look, size
from cncp.fleet.phases.survey import survey
from cncp.ssh.pool import Crew


@dataclass(frozen=True)
class Found:
    """What is known of the hosts: facts by name, failures by name, and who shares a home folder."""

    facts: Mapping[str, Hardware]
    failures: Mapping[str, CncpError]
    homes: tuple[tuple[str, ...], ...] = ()


def gather(specs: tuple[HostSpec, ...], timeout: float, *, strict: bool) -> Found:
    """Look at all hosts at once; what `up` would stumble over is found here already."""
    with Crew(specs, strict=strict) as crew:
        seen = crew.each(lambda host: look(host, timeout))
        able = {name: host for name, host in crew.hosts.items() if name in seen.results}
        surveyed = survey(able)
    failures = {**crew.failures, **seen.failures, **surveyed.failures}
    return Found(
        {spec.name: seen.results[spec.name] for spec in specs if spec.name in surveyed.results},
        {spec.name: failures[spec.name] for spec in specs if spec.name in failures},
        tuple(sorted({result.shared for result in surveyed.results.values() if result.shared})),
    )


def text(specs: Sequence[HostSpec], found: Found) -> str:
    """Return the cluster.toml."""
    return "".join(f"{line}\n" for line in _lines(specs, found))


def _lines(specs: Sequence[HostSpec], found: Found) -> Iterator[str]:
    yield "# What cncp init found. Look through it, keep it as cluster.toml, then: cncp up"
    yield '# The controller runs on the machine where that is run; elsewhere with: controller = "HOST"'
    for group in found.homes:
        yield f"# One home folder, with one installation: {', '.join(fold(group))}"
    pools: dict[tuple[object, ...], list[HostSpec]] = {}
    for spec in specs:
        if spec.name in found.facts:
            pools.setdefault(_shape(found.facts[spec.name]), []).append(spec)
    for pool in pools.values():
        yield ""
        yield from _pool(pool, found)
    if found.failures:
        yield ""
    for name, error in found.failures.items():
        yield comment(f"{name} is left out: {error.message} ({error.hint})")


def _pool(pool: Sequence[HostSpec], found: Found) -> Iterator[str]:
    facts = [found.facts[spec.name] for spec in pool]
    first = facts[0]
    gpus = counted(first.gpus) or "no GPU"
    yield comment(f"a host: {first.cores} cores, {size(first.memory)}, {gpus}; {first.cpu}")
    systems = dict.fromkeys(f"{fact.os}, Python {fact.pythons[-1] if fact.pythons else 'elsewhere'}" for fact in facts)
    yield comment("; ".join(systems))
    yield "[[pool]]"
    yield f"hosts = [{', '.join(json.dumps(name) for name in fold(map(written, pool)))}]"
    if first.gpus:
        yield 'engines = "gpus"  # one a GPU; one a core: "cores"'
    else:
        yield f"engines = {first.cores}  # one a core; one a host that uses all cores: 1"
    if all(fact.systemd for fact in facts) and not first.gpus:
        share = first.memory // 2**20 // first.cores
        # Below that an engine does not get through its own imports.
        yield from [f'# memory = "{share}M"  # an equal share, enforced by systemd'] if share >= 128 else []


def _shape(facts: Hardware) -> tuple[object, ...]:
    """Return what hosts of one pool have in common: memory to a sixteenth, which firmware takes some of."""
    return facts.cores, round(facts.memory / 2**30, 0 if facts.memory >= 2**33 else 1), facts.gpus
