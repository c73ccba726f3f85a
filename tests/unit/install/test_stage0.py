"""stage0: what it may import, what it is told, whom it acts for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import stage0
from cncp.config.variables import OTHER_VARIABLES
from cncp.errors import PreflightError, UsageError
from cncp.install import preflight, source_code
from tests.unit.source import syntax

ROOT = Path(__file__).resolve().parents[3]


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
        syntax(path.read_text(), (3, 10))


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
    assert {f"CNCP_{option.upper()}" for option in ("file", "offline", "python", "wait", *stage0.SWITCHES)} <= set(
        OTHER_VARIABLES
    )
    assert set(stage0.SWITCHES) <= flags


def test_preflight_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that would make an installation fail is found before it, and named."""
    assert preflight.check(tmp_path / "home", sys.executable) == sys.version_info[:2]
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\necho 3 8 3.8.18 cpython\n")
    poor = tmp_path / "poor"
    poor.write_text("#!/bin/sh\necho 3 12 3.12.1 cpython ssl zlib\n")
    for path in (old, poor):
        path.chmod(0o755)
    refusals = {
        str(old): r"is cpython 3\.8\.18; CPython 3\.10 or newer is needed",
        str(poor): "was built without ssl, zlib",
        "/bin/true": "is not a Python",
        "/nonexistent": "does not exist",
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


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a:b", "colon"),
        ("a\nb", "control character"),
        ("a\udce9", "not UTF-8"),
        ("a\x7f", "control character"),
        ("a #b", "comment"),
    ],
)
def test_names_that_programs_cannot_cope_with(name: str, why: str) -> None:
    """Such a home is refused with the reason, before anything; all others are taken."""
    with pytest.raises(PreflightError, match=why):
        preflight.names(f"/h/{name}", "/h")
    preflight.names("/h/per%cent [x] {y} 'q' \"d\" $HOME `z` \\#;= , * ~ - ñ ü ", "/h/a:b")


def test_limits_are_found_before_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few open files or processes for the engines wanted are named, with what would do."""
    hard = {resource.RLIMIT_NOFILE: 256, resource.RLIMIT_NPROC: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (10, hard[limit]))
    monkeypatch.setattr(preflight, "_tasks", lambda _: 30)
    preflight.limits(20, 1000)
    with pytest.raises(PreflightError, match=r"may open no more files than 256 .* 200 engines"):
        preflight.limits(200, 1000)
    hard[resource.RLIMIT_NPROC] = 100
    with pytest.raises(PreflightError, match=r"may run 100 processes .* 4 engines"):
        preflight.limits(4, 1000)
    preflight.limits(1, 1000)
    # Root is not limited in processes.
    preflight.limits(4, 0)


def test_a_place_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another account owns or could exchange is no place for a cluster, a link to it neither."""
    home = tmp_path / "mine" / "cncp"
    home.mkdir(parents=True)
    preflight.owned(home)
    preflight.owned(tmp_path / "not" / "yet" / "there")
    for mode, why in ((0o777, "others can write"), (0o775, ""), (0o1777, "")):
        home.parent.chmod(mode)
        monkeypatch.setattr(preflight, "_private", lambda *_: True)
        if why:
            with pytest.raises(PreflightError, match=why):
                preflight.owned(home)
        else:
            preflight.owned(home)
    home.parent.chmod(0o775)
    monkeypatch.setattr(preflight, "_private", lambda *_: False)
    with pytest.raises(PreflightError, match="others can write"):
        preflight.owned(home)
    home.parent.chmod(0o755)
    if os.geteuid() == 0:
        (tmp_path / "link").symlink_to(home)
        os.lchown(tmp_path / "link", 65534, 65534)
        for place in (tmp_path / "link", tmp_path / "link" / "below"):
            with pytest.raises(PreflightError, match="belongs to another account"):
                preflight.owned(place)
        os.chown(home, 65534, 65534)
        with pytest.raises(PreflightError, match="belongs to another account"):
            preflight.owned(home)


def test_a_python_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3.12 is the Python of that version on PATH, or one that pyenv keeps; one that is not there is named."""
    for folder, version in (("bin", "3.12.4"), ("home/.pyenv/versions/3.13.1/bin", "3.13.1")):
        program = tmp_path / folder / ("python3.12" if folder == "bin" else "python3")
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\ncase $3 in *executable*) echo "$0" ;; *) echo {version} ;; esac\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert preflight.executable("3.12") == str(tmp_path / "bin" / "python3.12")
    assert preflight.executable("3.12.4") == str(tmp_path / "bin" / "python3.12")
    assert preflight.executable("3.13").endswith("/3.13.1/bin/python3")
    for version in ("3.12.5", "3.77"):
        with pytest.raises(PreflightError, match=f"there is no Python {version} on this machine"):
            preflight.executable(version)


def test_the_code_is_kept(tmp_path: Path) -> None:
    """A copy of what is needed of a checkout; what was edited there or damaged here comes over in the next run."""
    checkout, home = tmp_path / "checkout", tmp_path / "home of its own"
    for name in ("bootstrap/stage0.py", "roles/a.json", "tests/x.py"):
        (checkout / name).parent.mkdir(parents=True)
        (checkout / name).write_text("1")
    (checkout / "baremetal.sh").write_text("2")
    (checkout / "baremetal.sh").chmod(0o755)
    home.mkdir()

    def bring() -> bool:
        made = source_code.read(checkout, home)
        assert made is not None
        return made.bring(home)

    there = source_code.kept(home)
    assert bring()
    assert os.access(there / "baremetal.sh", os.X_OK)
    assert not (there / "tests").exists()
    assert not bring()
    (checkout / "roles" / "a.json").write_text("edited")
    assert bring()
    assert (there / "roles" / "a.json").read_text() == "edited"
    (there / "bootstrap" / "stage0.py").write_text("damaged")
    (there / "bootstrap" / "stale.py").touch()
    assert bring()
    assert sorted(path.name for path in (there / "bootstrap").iterdir()) == ["stage0.py"]
    assert not bring()
    # What a run that was cut off between two renames left is taken up.
    there.rename(there.with_name("code.old"))
    assert not bring()
    assert source_code.read(there, home) is None


@pytest.mark.parametrize(
    ("word", "hint"), [("--thread", "--threads?"), ("--engins=4", "--engines?"), ("--x", "see all")]
)
def test_a_misspelt_option_is_answered_with_the_nearest(word: str, hint: str) -> None:
    """As cncp does."""
    with pytest.raises(UsageError) as caught:
        stage0.parser().parse_args([word])
    assert hint in caught.value.hint
