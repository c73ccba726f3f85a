"""What every test has: a home of its own, far from the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ON_DEMAND = {
    "vm": "takes many minutes",
    "ahead": "a Debian that is not released changes from day to day",
}
"""Markers of tests that are run when they are asked for, and why."""


@pytest.fixture(autouse=True)
def _far_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test off the real home, its profiles and its keys."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith("CNCP_") and not name.startswith("CNCP_LAB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    monkeypatch.delenv("SUDO_USER", raising=False)


THIS_MACHINE = {"chef", "install", "jupyter"}
"""Folders of tests whose clusters run on this machine itself, where two could choose the same ports."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave some tests for those who ask for them, and keep together what can't run side by side."""
    for item in items:
        folder = item.path.parent.name
        if folder != "unit":
            # Tests of one file of the lab share its hosts; every worker has a lab of its own.
            item.add_marker(pytest.mark.xdist_group("machine" if folder in THIS_MACHINE else item.path.stem))
    for name, reason in ON_DEMAND.items():
        if name in config.option.markexpr.split():
            continue
        for item in items:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{reason}: bash tests/run -m {name}"))


@pytest.fixture
def home() -> Path:
    """Return the home that this test has to itself."""
    return Path(os.environ["HOME"])
