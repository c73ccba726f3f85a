"""Sites for tests with real Chef; where there is none, they are skipped and say so."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.machine.converge import chef

from .site import Site, make

_PLAIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of a login without programs of its own: some of those write into the home."""


def _path(program: Path) -> dict[str, str]:
    """Return that PATH, with the folder of a Chef that was found elsewhere."""
    folder = str(program.parent)
    return {"PATH": _PLAIN if folder in _PLAIN.split(":") else f"{_PLAIN}:{folder}"}


@pytest.fixture(scope="session")
def program() -> Path:
    """Return the cinc-solo or chef-solo of this machine."""
    found = chef.find()
    if found is None:
        pytest.skip("there is neither cinc-solo nor chef-solo on this machine")
    return found


@pytest.fixture
def site(program: Path) -> Iterator[Site]:
    """Return a site of who runs the tests."""
    made = make(os.geteuid(), _path(program))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def user_site(program: Path) -> Iterator[Site]:
    """Return a site of somebody without any rights: as root of nobody, else of oneself."""
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    made = make(user, _path(program))
    try:
        yield made
    finally:
        made.remove()
