"""Fixtures for tests that need real hosts.

A test elsewhere gets them with ``pytest_plugins = ["tests.lab.fixtures"]`` in
the top conftest.py. Every test that uses one of them is marked ``lab``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from .nspawn import Host, Lab, missing

MakeHost = Callable[..., Host]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the lab, so that ``-m "not lab"`` leaves it out."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Start a lab for the whole run; skip with the reason where there can be none."""
    if lacks := missing():
        reason = "; ".join(lacks)
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must be able to run the lab: {reason}")
        pytest.skip(reason)
    with Lab(memory=True) as made:
        yield made


@pytest.fixture(scope="module")
def make_host(lab: Lab) -> Iterator[MakeHost]:
    """``Lab.host``, with the hosts removed after the module's last test."""
    made: list[Host] = []

    def make(*args: object, **options: object) -> Host:
        host = lab.host(*args, **options)  # type: ignore[arg-type]
        made.append(host)
        return host

    yield make
    for host in made:
        lab.remove(host)


@pytest.fixture(scope="module")
def host(make_host: MakeHost) -> Host:
    """Boot a bookworm host with the user ada (sudo, with a password)."""
    made = make_host("host")
    made.boot()
    return made
