"""Fixtures for tests of clusters on lab hosts: wheels within reach, users with our code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .host import Host
from .nspawn import Lab
from .serve import serve_directory
from .site import ROOT, Site, until

LOCKS = ("compute", "bootstrap")

MakeSite = Callable[[Host, str], Site]


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch the locked wheels once, for this Python, which is Debian 12's."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in LOCKS:
        lock = ROOT / "bootstrap" / "locks" / f"{name}.txt"
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
        fetch = [sys.executable, "-m", "pip", "download", *options, "-r", str(lock)]
        subprocess.run(fetch, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def index(lab: Lab, wheelhouse: Path) -> Iterator[str]:
    """Serve the wheels on the lab's bridge; give the index's URL."""
    with serve_directory(wheelhouse, lab.address) as url:
        yield url


@pytest.fixture(scope="session")
def make_site(lab: Lab, index: str) -> MakeSite:
    """Make a site: the code in the user's home, and pip configured to find the wheels."""

    def make(host: Host, user: str) -> Site:
        host.write("/etc/pip.conf", f"[global]\nindex-url = {index}\ntrusted-host = {lab.address}\n")
        site = Site(host, user)
        site.check_out()
        return site

    return make


@pytest.fixture(scope="module")
def bare(make_host: Callable[..., Host]) -> Host:
    """Boot a Debian 12 host with ada, who may use sudo with her password, and bob, who may not."""
    host = make_host("bare", "bookworm", ("cron", "python3-venv"), users=("ada", "bob"))
    host.boot()
    # cron is the last to be ready on some boots, and the tests of reboots need it.
    until(lambda: host.exec(["systemctl", "is-active", "cron"], check=False).returncode == 0, 20, "cron")
    return host
