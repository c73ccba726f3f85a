"""A plugin for pytest: ipyparallel's own tests, run against a cluster of ours in the place of one they start.

They connect to the profile ``iptest`` and add engines by hand where they want more than there are; ours have that
profile, and come back by themselves. Rests on tests/conftest.py and tests/__init__.py of ipyparallel 9.2.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

EXCEPTIONS: dict[str, str] = {}
"""Tests that cannot pass on a cluster of ours, by the end of their ids, and why."""


_ENGINES = 2
"""Engines of our cluster."""

_PATIENCE = 30.0  # s for the engines to be as many


@contextlib.contextmanager
def _ours(prefix: str | None = None) -> Iterator[str]:
    """Stand in for a folder that is made for a module: ours is there."""
    yield os.environ["IPYTHONDIR"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Have the tests' fixtures find a cluster that runs; nothing is collected yet."""
    from ipyparallel import Client, error, tests
    from ipyparallel.tests import conftest

    def setup() -> None:
        error.RemoteError = tests.RemoteErrorWithTB

    def teardown() -> None:
        tests.teardown()
        # Those that a module has added go with their processes; the next one would meet them.
        deadline = time.monotonic() + _PATIENCE
        with contextlib.closing(Client(profile="iptest")) as client:
            while len(client) != _ENGINES and time.monotonic() < deadline:
                time.sleep(0.05)

    conftest.temporary_ipython_dir = _ours
    conftest.setup = setup
    conftest.teardown = teardown


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark what cannot pass; what is marked and passes is an error, so that the table stays true."""
    for item in items:
        for end, reason in EXCEPTIONS.items():
            if item.nodeid.endswith(end):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
