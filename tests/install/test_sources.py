"""Where the installation gets its packages from, and what becomes of them later."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cncp.install import wheels

from .server import IndexServer, serving
from .support import Site, authority, locked, wheel

KEPT = {"cache", "cncp.log", "code", "code.lock", "install.lock", "parents", "tools", "venv"}
"""What an installation leaves in CNCP_HOME."""


def test_what_people_set_for_themselves(site: Site, index: IndexServer, tmp_path: Path) -> None:
    """Variables and files for a user's own Python, uv, pip, virtualenv and git decide about nothing of ours."""
    modules = tmp_path / "modules"
    (modules / "zmq").mkdir(parents=True)
    (modules / "zmq" / "__init__.py").write_text("raise ImportError('of another Python')")
    (modules / "dataclasses.py").write_text("x = 1")
    files = {
        "uv/uv.toml": 'exclude-newer = "2020-01-01"\noffline = true\nlink-mode = "symlink"\nno-binary = true\n',
        "pip/pip.conf": "[global]\ntarget = /nonexistent\nuser = true\nrequire-virtualenv = true\nno-binary = :all:\n",
        "virtualenv/virtualenv.ini": "[virtualenv]\nsystem-site-packages = true\n",
    }
    for name, text in files.items():
        path = site.home / ".config" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    del site.variables["PIP_INDEX_URL"]
    with (site.home / ".config" / "pip" / "pip.conf").open("a") as stream:
        stream.write(f"index-url = {index.url}\n")
    nowhere = ("UV_CACHE_DIR", "UV_OVERRIDE", "UV_CONSTRAINT", "PIP_TARGET", "PIP_CONSTRAINT", "PIP_LOG", "PYTHONHOME")
    site.variables |= {
        **dict.fromkeys((*nowhere, "GIT_DIR", "VIRTUAL_ENV", "PIP_CONFIG_FILE"), "/nonexistent/x"),
        **dict.fromkeys(("UV_OFFLINE", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "VIRTUALENV_SYSTEM_SITE_PACKAGES"), "1"),
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "PYTHONPATH": str(modules),
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C",
        "TAR_OPTIONS": "--frobnicate",
        "POSIXLY_CORRECT": "1",
    }
    assert "installed in" in site.install()
    assert site.works()
    assert "include-system-site-packages = false" in (site.state / "venv" / "pyvenv.cfg").read_text()


def test_a_virtualenv_that_lost_a_package(site: Site) -> None:
    """The next run misses it and brings it back."""
    site.install()
    folder = next(site.state.glob("venv/lib/python3*/site-packages"))
    shutil.rmtree(folder / "zmq")
    assert not site.works()
    assert "installed in" in site.install()
    assert site.works()


def test_an_index_with_a_password_and_no_hashes(site: Site, index: IndexServer) -> None:
    """Everything comes from the index configured, by its password, whatever its pages say."""
    index.login, index.fragments = "ada:p%40ss", False
    site.variables["PIP_INDEX_URL"] = index.url
    index.login = "ada:p@ss"
    assert "installed in" in site.install()
    assert site.works()
    pages = {path for path in index.asked if path.startswith("/simple/")}
    assert {"/simple/virtualenv/", "/simple/uv/", "/simple/ipyparallel/"} <= pages
    index.asked.clear()
    assert site.install() == ""
    assert index.asked == []
    # All that was needed in between is in our own folder, or gone.
    assert {path.name for path in site.home.iterdir()} == {".local"}
    assert {path.name for path in site.state.iterdir()} == KEPT


def test_a_private_authority_a_proxy_and_two_indexes(site: Site, index: IndexServer, tmp_path: Path) -> None:
    """Configuration of pip (cert, extra-index-url, find-links, proxy) reaches virtualenv, uv and the requirements."""
    trusted, certificate = authority(tmp_path)
    secure, loose = tmp_path / "secure", tmp_path / "a loose folder"
    for folder in (secure, loose):
        folder.mkdir()
    wheel(secure, "from_the_secure_one", "1.0")
    wheel(loose, "from_the_folder", "1.0")
    (secure / "mine.txt").write_text("from_the_secure_one\nfrom_the_folder\n")
    moved = {"ipyparallel", "virtualenv"}
    for path in list(index.folder.glob("*.whl")):
        if path.name.split("-")[0] in moved:
            path.rename(secure / path.name)
    with serving(secure, certificate) as other:
        config = tmp_path / "pip.conf"
        config.write_text(
            f"[global]\nindex-url = {index.url}\nextra-index-url =\n    {other.url}\n"
            f"cert = {trusted}\n[install]\nfind-links = {(loose).as_uri()}\n"
        )
        site.variables = {"PIP_CONFIG_FILE": str(config)}
        url = f"https://{other.address}/files/mine.txt"
        assert "installed in" in site.install("--requirements", url)
        assert {"from_the_secure_one", "from_the_folder", "ipyparallel"} <= set(site.versions())
    # Out of reach, the requirements stay what they were.
    assert "going on with the requirements of the last run" in site.install("--requirements", url)
    # With a proxy that pip alone is told of.
    config.write_text("[global]\nindex-url = http://packages.invalid/simple\n")
    site.variables["PIP_PROXY"] = f"http://{index.address}"
    site.home = tmp_path / "another"
    site.home.mkdir()
    index.asked.clear()
    for name in ("ipyparallel", "virtualenv"):
        path = next(secure.glob(f"{name}-*"))
        path.rename(index.folder / path.name)
    assert "installed in" in site.install()
    assert all(path.startswith("http://packages.invalid/") for path in index.asked)


def test_what_changes_is_changed_in_place(copied: Site, index: IndexServer, tmp_path: Path) -> None:
    """A changed lock, requirements added, changed, in conflict, and taken away again."""
    copied.install()
    python = copied.state / "venv" / "bin" / "python"
    made = python.lstat().st_ctime_ns
    lock = copied.code / "bootstrap" / "locks" / "compute.txt"
    lock.write_text(lock.read_text() + locked(wheel(index.folder, "newly_locked", "1.0")))
    copied.install()
    assert copied.versions()["newly_locked"] == "1.0"
    for version in ("1.0", "2.0"):
        wheel(index.folder, "wanted", version)
    mine = copied.home / "what i need.txt"
    mine.write_text("wanted==1.0\n")
    copied.install("--requirements", "what i need.txt")
    assert copied.versions()["wanted"] == "1.0"
    mine.write_text("wanted==2.0\n")
    copied.install("--requirements", str(mine))
    assert copied.versions()["wanted"] == "2.0"
    wheel(index.folder, "stubborn", "1.0", ["tornado<4"])
    mine.write_text("stubborn\n")
    refusal = copied.install("--requirements", str(mine), status=1)
    assert "tornado<4" in refusal
    assert "check the requirements file" in refusal.splitlines()[-1]
    copied.install()
    assert copied.versions().keys().isdisjoint({"wanted", "stubborn"})
    assert copied.works()
    assert python.lstat().st_ctime_ns == made


def test_without_uv_pip_installs(copied: Site, index: IndexServer) -> None:
    """Where there is no wheel of uv, pip does all that uv does: hashes, conflicts, removal."""
    index.hidden = {"uv"}
    # A short lock, because pip takes its time.
    lock = copied.code / "bootstrap" / "locks" / "compute.txt"
    few = [
        package.line()
        for package in wheels.read_lock(lock, wheels.here().environment)
        if package.name in ("tornado", "tqdm")
    ]
    lock.write_text("\n".join(few))
    wheel(index.folder, "wanted", "1.0", ["tqdm"])
    wheel(index.folder, "stubborn", "1.0", ["tornado<4"])
    mine = copied.home / "mine.txt"
    mine.write_text("wanted\n")
    copied.install("--requirements", str(mine))
    assert not (copied.state / "tools" / "bin" / "uv").exists()
    assert set(copied.versions()) == {"pip", "tornado", "tqdm", "wanted"}
    mine.write_text("stubborn\n")
    assert "tornado<4" in copied.install("--requirements", str(mine), status=1)
    copied.install()
    assert set(copied.versions()) == {"pip", "tornado", "tqdm"}


@pytest.mark.parametrize("fault", ["a wrong file", "no index"])
def test_what_cannot_be_had_is_said(site: Site, index: IndexServer, fault: str) -> None:
    """A file that the lock does not name is refused; an index that is not there is named."""
    if fault == "no index":
        index.shutdown()
        index.server_close()
        site.variables["PIP_RETRIES"] = "0"
    else:
        path = next(index.folder.glob("distlib-*"))
        path.unlink()
        path.write_bytes(b"PK not the one")
    answer = site.install(status=1).splitlines()
    assert answer[-2].startswith("error: virtualenv and uv cannot be had: ")
    assert answer[-1].startswith("hint: ")
    assert not (site.state / "venv").exists()


def test_an_installation_that_is_killed_is_repaired(site: Site) -> None:
    """SIGKILL at any moment leaves something that the next run makes whole."""
    for delay in (0.15, 0.5, 0.9, 1.2, 1.6, 2.2):
        process = subprocess.Popen(
            site.argv(),
            env=site.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
    site.install()
    assert site.works()
    assert {path.name for path in site.state.iterdir()} == KEPT
    assert site.install() == ""
