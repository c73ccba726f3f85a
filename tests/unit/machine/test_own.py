"""A user's own script, program or shell with the cluster's Python: as he would start it by himself."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.machine import user_programs

from ..refusal import ROOT

SHELLS = [shell for shell in ("bash", "zsh", "fish", "tcsh", "dash") if shutil.which(shell)]


@pytest.fixture
def venv(home: Path) -> Path:
    """Return a virtualenv in the place of the cluster's: a Python that says it is one, and a program."""
    made = home / ".local" / "share" / "cncp" / "venv"
    (made / "bin").mkdir(parents=True)
    for name, text in {
        "python": f'CNCP_TEST=ours exec {sys.executable} "$@"',
        "ipython": 'echo "ipython $*"',
    }.items():
        (made / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (made / "bin" / name).chmod(0o755)
    return made


def argv(*words: str) -> list[str]:
    """Return a command line of ours."""
    return [sys.executable, "-m", "cncp", *words]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command line of ours."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap"), "PYTHONDONTWRITEBYTECODE": "1", **more}


def said(folder: Path, *words: str, status: int = 0, **more: str) -> str:
    """Run a command line of ours in a folder and return its output."""
    env = environment(**more)
    done = subprocess.run(argv(*words), cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if not status or done.stdout else done.stderr


def test_a_script_is_run_as_it_would_be(venv: Path, tmp_path: Path) -> None:
    """In the folder one is in, its arguments untouched, its exit status kept, and nobody else's modules before ours."""
    (tmp_path / "first.py").write_text(
        "import os, sys\n"
        "print([sys.argv[1:], os.environ['CNCP_TEST'], os.getcwd(), 'PYTHONPATH' in os.environ])\n"
        "sys.exit(7)\n"
    )
    words = ["--help", "--json", "-x", "a b", "--", "*", "down", ""]
    expected = f"{[words, 'ours', str(tmp_path), False]}\n"
    assert said(tmp_path, "run", "first.py", *words, status=7) == expected
    assert said(tmp_path, "run", "--", "first.py", *words, status=7) == expected
    assert said(tmp_path, "python", "first.py", *words, status=7) == expected


def test_what_else_can_be_run(venv: Path, tmp_path: Path) -> None:
    """A program of the virtualenv, Python's own options, a command in the user's shell; a script that is not there."""
    assert said(tmp_path, "run", "ipython", "--version") == "ipython --version\n"
    assert said(tmp_path, "python", "-c", "import os; print(os.environ['CNCP_TEST'])") == "ours\n"
    for shell in SHELLS:
        found = said(tmp_path, "shell", "-c", "ipython x", SHELL=str(shutil.which(shell)))
        assert found == "ipython x\n", shell
    assert "cncp run FILE" in said(tmp_path, "run", "second.py", status=2)
    assert "needs a script" in said(tmp_path, "run", status=2)
    assert "cncp run first.py" in said(tmp_path, "shell", "python", "first.py", status=2)


def test_without_a_virtualenv(tmp_path: Path) -> None:
    """It says how to make one."""
    for words in (["run", "x.py"], ["python"], ["shell"]):
        assert "bash ./baremetal.sh" in said(tmp_path, *words, status=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_script(number: signal.Signals, venv: Path, tmp_path: Path) -> None:
    """It is the process that was started: what is sent to that, it gets."""
    (tmp_path / "wait.py").write_text(
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(9))\n"
        "print('on', flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(argv("run", "wait.py"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == 9


def test_a_pipe_that_is_closed_is_no_news(venv: Path, tmp_path: Path) -> None:
    """Python ignores SIGPIPE; what we start must not inherit that."""
    assert said(tmp_path, "shell", "-c", "grep SigIgn /proc/self/status", SHELL="/bin/sh").split()[1] == "0" * 16


def terminal(words: list[str], typed: str, wanted: str, folder: Path, env: dict[str, str]) -> str:
    """Run a command line on a terminal of its own, type, and return what it showed once that is in it."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(words[0], words, env)
    shown = ""
    os.write(descriptor, typed.encode())
    deadline = time.monotonic() + 60
    while re.search(wanted, shown) is None and time.monotonic() < deadline:
        try:
            shown += os.read(descriptor, 4096).decode(errors="replace")
        except OSError:
            break
    os.close(descriptor)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return shown


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_an_interactive_shell(shell: str, venv: Path, home: Path) -> None:
    """The user's own files are read; the virtualenv comes first all the same, and the prompt says whose it is."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}")
    folder = home / "other"
    folder.mkdir()
    (folder / "ipython").write_text("#!/bin/sh\necho theirs\n")
    (folder / "ipython").chmod(0o755)
    (home / f".{shell}rc").write_text(f"PATH={folder}:$PATH\nMINE=1\nPS1='at home> '\n")
    typed = 'ipython "m$MINE" | tr i I\n'
    shown = terminal(argv("shell"), typed, "Ipython m1", home, environment(SHELL=program, TERM="dumb"))
    assert "Ipython m1" in shown
    assert "(cncp) at home> " in shown
    assert "exit leaves" in shown


def test_shells_that_are_none(home: Path) -> None:
    """An account without a login shell gets one all the same."""
    for named in ("/usr/sbin/nologin", "/bin/false", "", "/nonexistent/zsh"):
        assert user_programs.shell({"SHELL": named}, interactive=False)[0] == ["/bin/sh"]


def test_a_script_is_needed(tmp_path: Path) -> None:
    """An empty name is none."""
    with pytest.raises(UsageError):
        user_programs.script(tmp_path, [""])
