"""Processors of an engine: facts in, sets out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cncp.serve.affinity import numa_nodes, parsed, share

EIGHT = range(8)
TWO_NODES = {0: range(4), 1: range(4, 8)}
SHARES = [
    ("none", 3, 2, EIGHT, TWO_NODES, set[int]()),
    ("cores", 0, 2, EIGHT, {}, {0, 1}),
    ("cores", 3, 2, EIGHT, {}, {6, 7}),
    ("cores", 4, 2, EIGHT, {}, {0, 1}),
    ("cores", 1, 3, EIGHT, {}, {3, 4, 5}),
    ("cores", 2, 3, EIGHT, {}, {6, 7, 0}),
    ("cores", 0, 8, EIGHT, {}, set(EIGHT)),
    ("cores", 5, 64, EIGHT, {}, set(EIGHT)),
    ("cores", 1, 2, (3, 9, 17, 40), {}, {17, 40}),
    ("numa", 0, 1, EIGHT, TWO_NODES, {0, 1, 2, 3}),
    ("numa", 3, 1, EIGHT, TWO_NODES, {4, 5, 6, 7}),
    ("numa", 1, 1, (1, 2, 3), TWO_NODES, {1, 2, 3}),
    ("numa", 0, 1, EIGHT, {}, set()),
]


@pytest.mark.parametrize(("pin", "number", "threads", "allowed", "nodes", "expected"), SHARES)
def test_shares(
    pin: str, number: int, threads: int, allowed: range, nodes: dict[int, range], expected: set[int]
) -> None:
    """Neighbouring cores without overlap while there is room; nodes in turn; nothing that is not allowed."""
    assert share(pin, number, threads, allowed, nodes) == expected


def test_lists_of_the_kernel(tmp_path: Path) -> None:
    """Ranges and single numbers; a node without memory has processors, one without processors none."""
    assert parsed("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11]
    assert parsed("\n") == []
    for number, text in ((0, "0-1\n"), (2, "\n"), (3, "odd\n")):
        folder = tmp_path / f"node{number}"
        folder.mkdir()
        (folder / "cpulist").write_text(text)
    assert numa_nodes(tmp_path) == {0: [0, 1], 2: []}
    assert numa_nodes(tmp_path / "absent") == {}
    here = {cpu for cpus in numa_nodes().values() for cpu in cpus}
    assert not here or here >= os.sched_getaffinity(0)


def test_a_process_is_pinned() -> None:
    """What is said is done, and threads begun later have it as well."""
    code = (
        "import os, threading; from cncp.serve import affinity; mine = affinity.apply('cores', 0, 1)\n"
        "seen = []; t = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0))); t.start(); t.join()\n"
        "print(len(mine), len(seen[0]), os.sched_getaffinity(0) == seen[0] == set(mine))"
    )
    root = Path(__file__).resolve().parents[3] / "bootstrap"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "True"]
