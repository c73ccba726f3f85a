"""Wheels fetched once, and an index on loopback that has them."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.release import bundle

from .server import IndexServer, serving
from .support import ROOT, Site, said


@pytest.fixture(scope="session")
def bundle_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a bundle for this machine, from whatever pip is configured with here."""
    path = tmp_path_factory.mktemp("bundle") / "cncp.tar"
    bundle.make(path, "", "", os.environ)
    return path


@pytest.fixture(scope="session")
def wheelhouse(bundle_file: Path) -> Path:
    """Return a folder with all locked wheels."""
    folder = bundle_file.parent / "wheels"
    folder.mkdir()
    with tarfile.open(bundle_file) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if member.name.startswith("wheels/") and stream is not None:
                (folder / Path(member.name).name).write_bytes(stream.read())
    return folder


@pytest.fixture
def index(wheelhouse: Path, tmp_path: Path) -> Iterator[IndexServer]:
    """Serve the wheels; a test may add its own to the folder served."""
    folder = tmp_path / "served"
    folder.mkdir()
    for wheel in wheelhouse.iterdir():
        (folder / wheel.name).hardlink_to(wheel)
    with serving(folder) as server:
        yield server


@pytest.fixture
def site(home: Path, index: IndexServer) -> Site:
    """Return a home whose pip knows that index and no other."""
    return Site(home, variables={"PIP_INDEX_URL": index.url})


@pytest.fixture
def near(site: Site) -> Iterator[Site]:
    """Return a home whose path is short enough for supervisord's socket."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        site.home = Path(folder)
        yield site


@pytest.fixture
def copied(site: Site, tmp_path: Path) -> Site:
    """Return a home with code of its own, whose locks a test can change."""
    site.code = tmp_path / "code of its own"
    for name in ("bootstrap", "cookbooks", "roles"):
        shutil.copytree(ROOT / name, site.code / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "baremetal.sh", site.code)
    return site


@pytest.fixture
def cluster(near: Site) -> Iterator[Site]:
    """Run three engines, which supervisord starts again."""
    words = ("--engines", "3", "--converge", "embedded", "--service-manager", "supervisor")
    started = said(["bash", str(near.code / "baremetal.sh"), *words], near.environment, near.home)
    try:
        assert started.returncode == 0, started.stderr
        yield near
    finally:
        said([str(near.home / ".local/bin/cncp"), "uninstall"], near.environment, near.home)
