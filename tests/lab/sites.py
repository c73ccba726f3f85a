"""Fixtures for tests of clusters on lab hosts: wheels within reach, users with our code."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .base import cache_dir, locked
from .host import Host
from .nspawn import Lab
from .serve import serve_directory
from .site import ROOT, Site, until

LOCKS = ("compute", "bootstrap")

MakeSite = Callable[[Host, str], Site]


def fetch_wheels(folder: Path) -> None:
    """Fetch the locked wheels for this Python, which is Debian 12's."""
    for name in LOCKS:
        fetch_locked(folder, ROOT / "bootstrap" / "locks" / f"{name}.txt")


def fetch_locked(folder: Path, lock: Path) -> None:
    """Fetch the wheels of a lock as well; they are kept for other workers and the next run, as base trees are."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    kept = cache_dir() / f"wheels-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with locked(kept.parent / f"{kept.name}.lock"):
        if not kept.is_dir():
            part = kept.with_name(f"{kept.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(part)]
            fetch = [sys.executable, "-m", "pip", "download", *options, "-r", str(lock)]
            subprocess.run(fetch, check=True, capture_output=True)
            part.rename(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)


def settle(host: Host, user: str, index: str) -> Site:
    """Make a site: the code in the user's home, and pip configured to find the wheels at ``index``."""
    server = urllib.parse.urlsplit(index).hostname
    host.write("/etc/pip.conf", f"[global]\nindex-url = {index}\ntrusted-host = {server}\n")
    site = Site(host, user)
    site.check_out()
    return site


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch the locked wheels once."""
    folder = tmp_path_factory.mktemp("wheels")
    fetch_wheels(folder)
    return folder


@pytest.fixture(scope="session")
def index(lab: Lab, wheelhouse: Path) -> Iterator[str]:
    """Serve the wheels on the lab's bridge; give the index's URL."""
    with serve_directory(wheelhouse, lab.address) as url:
        yield url


@pytest.fixture(scope="session")
def make_site(index: str) -> MakeSite:
    """Make sites whose pip finds the wheels."""
    return lambda host, user: settle(host, user, index)


@pytest.fixture(scope="module")
def bare(make_host: Callable[..., Host]) -> Host:
    """Boot a Debian 12 host with ada, who may use sudo with her password, and bob, who may not."""
    host = make_host("bare", "bookworm", ("cron", "python3-venv"), users=("ada", "bob"))
    host.boot()
    # cron is the last to be ready on some boots, and the tests of reboots need it.
    until(lambda: host.exec(["systemctl", "is-active", "cron"], check=False).returncode == 0, 20, "cron")
    return host
