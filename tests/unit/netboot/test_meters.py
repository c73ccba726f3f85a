"""What Prometheus is told: counted as it happens, in units and names as it wants them."""

from __future__ import annotations

import re

from cncp.netboot.meters import Meters
from cncp.netboot.node_db import Event
from cncp.netboot.node_states import Node, State

UUID = "00000000-0000-0000-0000-000000000001"
READY = Node("n1", "52:54:00:00:00:01", UUID, "ready", since=100.0)


def told(meters: Meters, *states: tuple[float, State]) -> dict[str, str]:
    """Tell what happened to a node; return what is shown."""
    for when, state in states:
        meters.tell(Event(when, "n1", state))
    text = "".join(meters.lines([READY], 2, {"done": 1, "waiting": 0}))
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


def test_what_happened_is_counted() -> None:
    """A boot with one that failed before it, and how long each state took; progress is no change."""
    shown = told(
        Meters([READY]),
        *((110.0, "rebooting"), (130.0, "blancmange"), (131.0, "fetch"), (135.0, "fetch"), (141.0, "rebooting")),
        *((150.0, "blancmange"), (151.5, "boot"), (160.0, "alive")),
    )
    assert shown['cidd_node_state_entries_total{state="alive"}'] == "1"
    assert shown['cidd_node_state_entries_total{state="fetch"}'] == "1"
    assert shown['cidd_node_state_seconds_total{state="rebooting"}'] == "29"
    assert shown['cidd_node_state_seconds_total{state="blancmange"}'] == "2.5"
    assert shown['cidd_node_state_seconds_total{state="ready"}'] == "10"
    assert shown["cidd_node_retries_total"] == "1"


def test_all_series_are_there_from_the_beginning() -> None:
    """A rate needs a 0 to begin at; names end as their kind and unit want."""
    meters = Meters([])
    shown = told(meters)
    assert shown['cidd_nodes{state="failed"}'] == shown['cidd_sent_bytes_total{file="blob"}'] == "0"
    assert (shown["cidd_images"], shown['cidd_jobs{outcome="done"}']) == ("2", "1")
    meters.sent("blob", 5 << 30)
    assert told(meters)['cidd_sent_bytes_total{file="blob"}'] == str(5 << 30)
    text = "".join(meters.lines([], 0, {}))
    kinds = dict(re.findall(r"# TYPE (\S+) (\S+)", text))
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        name for name in kinds if name.endswith("_total")
    }
    assert all(f"# HELP {name} " in text for name in kinds)


def test_a_clock_that_is_set_back() -> None:
    """No counter falls."""
    shown = told(Meters([READY]), (50.0, "rebooting"), (40.0, "alive"))
    assert shown['cidd_node_state_seconds_total{state="ready"}'] == "0"
