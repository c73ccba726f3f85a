"""Hosts without a way out get packages and repositories from the bridge."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from .command import run
from .fixtures import MakeHost
from .nspawn import Host, Lab, git_daemon, serve_directory

FETCH = "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())"


def make_wheel(folder: Path, version: str, pythons: str = ">=3.10") -> Path:
    """Make the smallest wheel that pip installs."""
    info = f"lab_probe-{version}.dist-info"
    wheel = folder / f"lab_probe-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: lab-probe\nVersion: {version}\nRequires-Python: {pythons}\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("lab_probe.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def fetch(host: Host, url: str) -> str:
    """Give what a host gets from a URL, with the Python it has."""
    return host.run(["python3", "-c", FETCH, url], user="ada").stdout


def test_index_is_reachable_from_inside(lab: Lab, host: Host, tmp_path: Path) -> None:
    """The pages link to files with their hashes, and see files added later."""
    wheel = make_wheel(tmp_path, "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with serve_directory(tmp_path, lab.address) as url:
        assert 'href="/simple/lab-probe/"' in fetch(host, url)
        page = fetch(host, f"{url}Lab_Probe/")
        assert f"/files/{wheel.name}#sha256={digest}" in page
        assert 'data-requires-python="&gt;=3.10"' in page
        make_wheel(tmp_path, "2.0")
        assert "lab_probe-2.0" in fetch(host, f"{url}lab-probe/")
        assert host.run(["python3", "-c", FETCH, f"{url}absent/"], check=False).returncode == 1
        escaped = url.replace("/simple/", "/files/..%2F..%2Fetc%2Fpasswd")
        assert host.run(["python3", "-c", FETCH, escaped], check=False).returncode == 1


def test_pip_installs_from_the_index(lab: Lab, make_host: MakeHost, tmp_path: Path) -> None:
    """A host's own pip takes the newest version that its Python can run."""
    for version, pythons in (("1.0", ">=3.10"), ("2.0", ">=3.11"), ("3.0", ">=9")):
        make_wheel(tmp_path, version, pythons)
    host = make_host("pip", extra=("python3-venv",))
    host.boot()
    host.run(["python3", "-m", "venv", "venv"], user="ada")
    with serve_directory(tmp_path, lab.address) as url:
        pip = ["venv/bin/pip", "install", "--index-url", url, "--trusted-host", lab.address]
        host.run([*pip, "lab-probe"], user="ada")
    probe = ["venv/bin/python", "-c", "import lab_probe; print(lab_probe.version)"]
    assert host.run(probe, user="ada").stdout == "2.0\n"


@pytest.mark.parametrize("bare", [False, True], ids=["work tree", "bare"])
def test_partial_clone_from_inside(lab: Lab, host: Host, tmp_path: Path, bare: bool) -> None:
    """A clone without blobs works, and gets a blob when it is asked for."""
    work = tmp_path / "project"
    git = ["git", "-C", str(work), "-c", "user.name=lab", "-c", "user.email=lab@localhost"]
    run(["git", "init", "--quiet", "--initial-branch=main", work])
    for text in ("old", "new"):
        (work / "file").write_text(text)
        run([*git, "add", "file"])
        run([*git, "commit", "--quiet", "--message", text])
    repo = work
    if bare:
        repo = tmp_path / "project.git"
        run(["git", "clone", "--quiet", "--bare", work, repo])
    target = f"clone-{bare}"
    with git_daemon(repo, lab.address) as url:
        host.run(["git", "clone", "--quiet", "--filter=blob:none", url, target], user="ada")
        missing = ["git", "-C", target, "rev-list", "--objects", "--missing=print", "--all"]
        listed = host.run(missing, user="ada").stdout.splitlines()
        assert len([line for line in listed if line.startswith("?")]) == 1
        assert host.run(["git", "-C", target, "show", "HEAD~:file"], user="ada").stdout == "old"
    gone = host.run(["git", "ls-remote", url], user="ada", check=False)
    assert gone.returncode != 0


def test_servers_end_with_the_tests(lab: Lab, tmp_path: Path) -> None:
    """A closed server's port is free at once."""
    with serve_directory(tmp_path, lab.address) as url:
        port = url.split(":")[2].split("/")[0]
    shown = subprocess.run(["ss", "-Htln", f"sport = {port}"], capture_output=True, check=True)
    assert shown.stdout == b""
