"""stage0: what it may import, what it is told, whom it acts for."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stage0
from cncp.attributes import OTHER_VARIABLES
from cncp.errors import PreflightError, UsageError
from cncp.install import preflight

ROOT = Path(__file__).resolve().parents[2]


def test_it_needs_the_standard_library_alone() -> None:
    """It can be imported where there is nothing else, and says so where half of that is missing."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'bootstrap')!r}); import stage0; print(stage0.__file__)"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("stage0.py"), done.stderr
    hole = f"import sys; sys.modules['ssl'] = None; {code}"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", hole], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_its_syntax_is_that_of_the_oldest_python() -> None:
    """Everything that runs before the virtualenv parses as Python 3.10."""
    for path in [ROOT / "bootstrap" / "stage0.py", *(ROOT / "bootstrap" / "cncp").rglob("*.py")]:
        ast.parse(path.read_text(), feature_version=(3, 10))


def test_every_option_is_a_variable() -> None:
    """What a flag says, its variable says too; the flag wins."""
    given = stage0.parse([], {"CNCP_JSON": "1", "CNCP_QUIET": "yes", "CNCP_INSTALL_ONLY": "true", "CNCP_FORGET": "on"})
    assert (given.json, given.quiet, given.install_only, given.forget) == (True, True, True, True)
    variables = {"CNCP_PYTHON": "/nonexistent/a", "CNCP_OFFLINE": "c", "CNCP_JSON": "no"}
    given = stage0.parse(["--python", "/nonexistent/b", "--json"], variables)
    assert (given.python, given.offline, given.json, given.quiet) == ("/nonexistent/b", "c", True, False)
    # By name and by wrapper it is the same program as by its path.
    assert os.access(stage0.parse(["--python", "python3"], {}).python, os.X_OK)
    with pytest.raises(UsageError, match="CNCP_QUIET = 'loud' is not possible"):
        stage0.parse([], {"CNCP_QUIET": "loud"})
    flags = {action.dest for action in stage0.parser()._actions}
    assert {f"CNCP_{one.upper()}" for one in ("file", "offline", "python", *stage0.SWITCHES)} <= set(OTHER_VARIABLES)
    assert set(stage0.SWITCHES) <= flags


def test_preflight_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that would make an installation fail is found before it, and named."""
    assert preflight.check(tmp_path / "home", sys.executable) == sys.version_info[:2]
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\necho 3 8 cpython\n")
    poor = tmp_path / "poor"
    poor.write_text("#!/bin/sh\necho 3 12 cpython ssl zlib\n")
    for path in (old, poor):
        path.chmod(0o755)
    refusals = {
        str(old): "cpython 3.8",
        str(poor): "was built without ssl, zlib",
        "/bin/true": "is not a Python",
        "/nonexistent": "is not a Python",
    }
    for python, why in refusals.items():
        with pytest.raises(PreflightError, match=why):
            preflight.check(tmp_path / "home", python)
    (tmp_path / "file").touch()
    with pytest.raises(PreflightError, match="is not a folder"):
        preflight.check(tmp_path / "file", sys.executable)
    monkeypatch.setattr(preflight, "SPACE", 2**60)
    with pytest.raises(PreflightError, match="MB are needed"):
        preflight.check(tmp_path, sys.executable)
    monkeypatch.setattr(preflight, "SPACE", 0)
    monkeypatch.setattr("time.time", lambda: 0.0)
    with pytest.raises(PreflightError, match="the clock says"):
        preflight.check(tmp_path, sys.executable)


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """It is named, with the way out. Root writes everywhere, so a child of another user looks."""
    tmp_path.chmod(0o500)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            preflight._writable(tmp_path, tmp_path / "home")
        except PreflightError as error:
            os._exit(40 + error.exit_code if "is not writable" in error.message else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 44


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_home_that_runs_nothing(tmp_path: Path) -> None:
    """A file system mounted noexec is found before anything is written to it."""
    code = "import sys, pathlib; from cncp.install import preflight; "
    code += "preflight.check(pathlib.Path(sys.argv[1]), sys.executable)"
    mount = 'mount -t tmpfs -o noexec,size=1m none "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, code]
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONPATH": str(ROOT / "bootstrap")}, capture_output=True, text=True, check=False
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("mounting is not allowed here")
    assert "it is mounted noexec" in done.stderr
