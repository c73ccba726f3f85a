"""Debian that reaches nothing, has neither pip nor venv, and gets two files: the script and a bundle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .host import Host
from .site import ROOT, Site


@pytest.mark.parametrize(
    ("suite", "python"),
    # The next Debian changes from day to day, and with it what a test of it finds.
    [("trixie", "3.13"), pytest.param("forky", "3.14", marks=pytest.mark.ahead)],
)
def test_two_files_are_enough(make_host: Callable[..., Host], tmp_path: Path, suite: str, python: str) -> None:
    """The lone script installs from the bundle, N engines answer, and an uninstall leaves nothing."""
    bundle = tmp_path / "cncp.tar"
    invoke = [sys.executable, "-m", "invoke", "bundle.make", "--output", str(bundle), "--pythons", python]
    subprocess.run(invoke, cwd=ROOT, check=True, capture_output=True)
    host = make_host(f"airgap-{suite}", suite, users=("bob",))
    host.boot()
    site = Site(host, "bob")
    host.exec(["mkdir", "-p", site.work])
    host.put(ROOT / "baremetal.sh", f"{site.work}/baremetal.sh", "bob")
    host.put(bundle, f"{site.work}/cncp.tar", "bob")
    before = site.tree()
    assert host.run(["python3", "-c", "import pip"], "bob", check=False).returncode
    done = site.baremetal("--engines=2", "--offline", f"{site.work}/cncp.tar")
    assert "2/2 engines answer" in done.stdout
    assert sorted(site.ask_engines()) == ["0", "1"]
    again = site.baremetal("--offline", f"{site.work}/cncp.tar")
    assert "nothing to change" in again.stdout
    site.cncp("uninstall")
    assert site.tree() == before
