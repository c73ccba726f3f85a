"""What Prometheus reads of cidd: where nodes are, how often they came where and for how long, what was sent.

Names and units: https://prometheus.io/docs/practices/naming/. What is counted begins at 0 with cidd.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

from cncp.netboot.node_db import Event
from cncp.netboot.node_states import Node, State

_STATES: tuple[str, ...] = get_args(State)


class Meters:
    """Counts what happens, as it is told."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        """``nodes`` are those that there are as it begins."""
        self._at = {node.name: (node.state, node.since) for node in nodes}
        self._entered, self._seconds = Counter[str](), dict.fromkeys(_STATES, 0.0)
        self._begun_anew = 0
        self._sent = Counter[str]()

    def tell(self, event: Event) -> None:
        """Count a change of a node's state; progress within one is none."""
        before, since = self._at.get(event.node, ("", event.when))
        if before == event.state:
            return
        self._at[event.node] = (event.state, event.when)
        self._entered[event.state] += 1
        if before:
            self._seconds[before] += max(0.0, event.when - since)
        # What has left for an image boots again only where something went wrong.
        self._begun_anew += event.state == "rebooting" and before not in ("ready", "draining", "failed", "")

    def sent(self, file: str, size: int) -> None:
        """Count bytes of a file: a ``blob`` of an image, or ``blancmange``."""
        self._sent[file] += size

    def lines(self, nodes: Sequence[Node], images: int, jobs: Mapping[str, int]) -> Iterator[str]:
        """Yield the text (version 0.0.4); ``jobs`` are those that have asked for nodes, by their outcome."""
        now = Counter[str](node.state for node in nodes)
        yield from _series("cidd_nodes", "gauge", "Nodes by state.", "state", {state: now[state] for state in _STATES})
        yield from _series("cidd_images", "gauge", "Images that nodes can be put into.", "", {"": images})
        yield from _series("cidd_jobs", "gauge", "Jobs that have asked for nodes, by outcome.", "outcome", jobs)
        entered = {state: self._entered[state] for state in _STATES}
        told = "Times that a node came into a state: alive counts boots, failed failures."
        yield from _series("cidd_node_state_entries_total", "counter", told, "state", entered)
        told = "Time that nodes were in a state, of those that have left it."
        yield from _series("cidd_node_state_seconds_total", "counter", told, "state", self._seconds)
        told = "Times that a node began anew on its way, because of silence, a failure, or another image."
        yield from _series("cidd_node_retries_total", "counter", told, "", {"": self._begun_anew})
        sent = {file: self._sent[file] for file in ("blancmange", "blob")}
        yield from _series("cidd_sent_bytes_total", "counter", "Bytes of files sent to nodes.", "file", sent)


def _series(name: str, kind: str, told: str, label: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {told}\n# TYPE {name} {kind}\n"
    for value, count in values.items():
        labels = f'{{{label}="{value}"}}' if label else ""
        yield f"{name}{labels} {count:.10g}\n"
