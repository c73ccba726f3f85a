"""The examples are clusters that `cncp plan` takes; tests/install/test_first_use.py runs the one of one machine."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.config.inventory import LOCAL
from cncp.config.sources import SOURCE

from .refusal import ran

EXAMPLES = SOURCE / "examples"

ENGINES = ["engine-0", "engine-1"]

STARTS: dict[str, tuple[list[str], dict[str, int]]] = {
    "one-machine": (["controller", *ENGINES], {}),
    "many-machines": ([], {"gold": 7, "silver": 4}),
    "behind-a-firewall": (["controller"], {"cloud": 8, "lab": 3, "vault": 1}),
    "gpus": (["controller"], {"dgx": 2, "cpu": 4}),
    "jupyter": (["controller", *ENGINES, "jupyter"], {"gold": 2}),
    "own-tasks": (["controller"], {"gold": 4, "vault": 1}),
}
"""Of each example what starts on the machine where it is used, and how many other hosts there are by their names."""


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a home whose path is short enough for supervisord's socket."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        yield Path(folder)


def test_every_example_is_known() -> None:
    """None is without a test, and each is a folder with a cluster.toml."""
    assert {path.name for path in EXAMPLES.iterdir()} == set(STARTS)
    assert all((EXAMPLES / name / "cluster.toml").is_file() for name in STARTS)


@pytest.mark.parametrize("name", STARTS)
def test_an_example_can_be_planned(name: str, home: Path) -> None:
    """Every host and service that the file describes is in the plan, and nothing is changed by it."""
    here, others = STARTS[name]
    words = ["plan", "--json", "--file", str(EXAMPLES / name / "cluster.toml")]
    done = ran(home, words, HOME=str(home), PATH=os.defpath)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    mine = planned.pop(LOCAL) if others else planned
    assert mine["start"] == here
    assert {stem: sum(host.startswith(stem) for host in planned) for stem in others} == others
    assert not others or len(planned) == sum(others.values())
    assert not list(home.iterdir())
