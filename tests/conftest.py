"""What every test has: a home of its own, far from the real one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ON_DEMAND = {
    "vm": "takes many minutes",
    "ahead": "a Debian that is not released changes from day to day",
    "slow": "",
}
"""Markers of tests that are run when they are asked for, and why; one that is slow says itself what holds the same."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `bash tests/run --all` have all that the gate has no time for."""
    parser.addoption("--all", action="store_true", help="also what is slow and held by others as well")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it runs in the background ignore Ctrl-C, and that is inherited by all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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

LONGEST = (
    *("fleet_faults", "fleet_tunnels", "fleet", "pxe", "settings", "matrix", "chef", "join", "keys", "upgrade"),
    *("rendezvous_store", "fleet_homes", "jupyter", "faults", "mishaps", "logout", "netboot_server"),
)
"""Files of the lab and of nodes that take minutes, the longest first: begun last, one would leave others idle."""


class Schedule(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives workers of pytest-xdist, each of which has a lab of its own, what must stay together: files."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "this machine" if Path(file).parts[1] in THIS_MACHINE else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule:
    """Have tests of one file of the lab share its hosts."""
    return Schedule(config, log)


def _begun(item: pytest.Item) -> int:
    """Return when the file of a test is begun: what has one worker to itself, the longest, any other, unit tests."""
    _, folder, *_, file = item.path.relative_to(item.config.rootpath).parts
    if folder in THIS_MACHINE:
        return -1
    if folder in ("lab", "netboot") and (name := file[5:-3]) in LONGEST:
        return LONGEST.index(name)
    return len(LONGEST) + (folder == "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave some tests for those who ask for them."""
    items.sort(key=_begun)
    for name, reason in ON_DEMAND.items():
        if name in config.option.markexpr.split() or (name == "slow" and config.option.all):
            continue
        for item in items:
            if marker := item.get_closest_marker(name):
                why = reason or f"{marker.kwargs['held']} holds it as well"
                item.add_marker(pytest.mark.skip(reason=f"{why}: bash tests/run -m {name}"))


@pytest.fixture
def home() -> Path:
    """Return the home that this test has to itself."""
    return Path(os.environ["HOME"])
