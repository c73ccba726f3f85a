"""A cluster with Jupyter, for all tests of this folder: installing it is most of their time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.release import bundle
from tests.chef.site import Site, make

from .support import Lab

_PLAIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@pytest.fixture(scope="session")
def bundle_with_jupyter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a bundle for this machine that holds Jupyter, from whatever pip is configured with here."""
    path = tmp_path_factory.mktemp("bundle") / "cncp.tar"
    bundle.make(path, "", "", os.environ, jupyter=True)
    return path


@pytest.fixture(scope="session")
def site(bundle_with_jupyter: Path) -> Iterator[Site]:
    """Return a cluster of two engines under supervisord; Jupyter can be switched on without a network."""
    made = make(os.geteuid(), {**_PLAIN, "CNCP_OFFLINE": str(bundle_with_jupyter)})
    try:
        made.baremetal("--engines=2", "--converge=embedded", "--service-manager=supervisor", "--quiet")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def lab(site: Site) -> Lab:
    """Switch Jupyter on."""
    site.cncp("jupyter.up", "--quiet")
    return Lab(site)
