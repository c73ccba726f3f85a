"""Root acting for a user: everything in that user's home is that user's."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import IndexServer
from .support import ROOT, clean

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SYSTEM_PYTHON = "/usr/bin/python3"
ROOTS_CODE = Path("/usr/local/lib/cncp/nobody")
"""Where root keeps code that it runs for this account."""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that everybody may enter, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="cncp-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(ROOTS_CODE, ignore_errors=True)
    with contextlib.suppress(OSError):
        ROOTS_CODE.parent.rmdir()


@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason="there is no Python that everybody may run")
def test_under_sudo(open_folder: Path, index: IndexServer) -> None:
    """A lone script under sudo: the clone is root's, virtualenv and bytecode are the caller's."""
    user = pwd.getpwnam("nobody")
    repository, home = open_folder / "repository", open_folder / "a home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    repository.mkdir()
    for name in ("bootstrap", "cookbooks", "roles"):
        shutil.copytree(ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "baremetal.sh", repository)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", str(repository), *author, *words], check=True)
    script = open_folder / "baremetal.sh"
    shutil.copy(ROOT / "baremetal.sh", script)
    # root's own home is closed to the user, and so is the folder root stands in.
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    environment = clean(
        closed,
        SUDO_USER="nobody",
        CNCP_HOME=str(home / "state"),
        CNCP_REPO_URL=repository.as_uri(),
        CNCP_PYTHON=SYSTEM_PYTHON,
        PIP_INDEX_URL=index.url,
        XDG_CACHE_HOME=str(closed),
        GIT_CONFIG_NOSYSTEM="1",
    )
    for _ in range(2):
        done = subprocess.run(
            ["bash", str(script), "--install-only"],
            env=environment,
            cwd=closed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(closed.iterdir()) == []
    strangers = {str(path) for path in home.rglob("*") if path.lstat().st_uid != user.pw_uid}
    assert strangers == set()
    assert len(list((home / "state" / "venv").rglob("*.pyc"))) > 100
    assert {path.lstat().st_uid for path in (ROOTS_CODE, *ROOTS_CODE.rglob("*"))} == {0}
