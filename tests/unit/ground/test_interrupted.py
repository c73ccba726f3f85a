"""Ctrl-C, SIGTERM and SIGHUP, whenever they come: one line, the exit code of that signal, no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cncp import files, interrupted
from cncp.pools.vm import package
from cncp.tasks import guide, program

from ..refusal import ROOT

AT_IMPORT = """
import os, runpy, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{signal})

sys.meta_path.insert(0, Interrupts())
sys.path.insert(0, {code!r})
sys.argv = {argv!r}
{run}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "module", ["cncp.tasks", "invoke.collection", "cncp.config.settings", "cncp.machine.ops.main", "psutil"]
)
def test_while_a_command_is_imported(module: str, number: signal.Signals, home: Path) -> None:
    """From the first import of ours to the last: it says so in a line."""
    text = AT_IMPORT.format(
        module=module,
        signal=number.name,
        code=str(ROOT / "bootstrap"),
        argv=["cncp", "up"],
        run="runpy.run_module('cncp', run_name='__main__', alter_sys=False)",
    )
    ended(text, number, home)


@pytest.mark.parametrize("module", ["argparse", "cncp.config.sources", "cncp.accounts", "cncp.install.preflight"])
def test_while_the_installation_is_imported(module: str, home: Path) -> None:
    """So does stage0, which runs before there is a virtualenv."""
    script = str(ROOT / "bootstrap" / "stage0.py")
    text = AT_IMPORT.format(
        module=module,
        signal="SIGINT",
        code=str(ROOT / "bootstrap"),
        argv=[script],
        run=f"runpy.run_path({script!r}, run_name='__main__')",
    )
    ended(text, signal.SIGINT, home, "bash ./baremetal.sh")


def test_while_the_script_works(home: Path, tmp_path: Path) -> None:
    """Before there is a Python of ours, bash says it."""
    (tmp_path / "python").write_text("#!/bin/sh\nkill -INT $PPID\n")
    (tmp_path / "python").chmod(0o755)
    words = ["bash", str(ROOT / "baremetal.sh"), "--python", str(tmp_path / "python")]
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == "interrupted: what was done stays; bash ./baremetal.sh goes on from there\n"
    assert done.returncode == 130


def ended(program: str, number: signal.Signals, home: Path, again: str = "cncp up") -> None:
    """Hold that a program ends by a signal as it should, with nothing done."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=home, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == f"interrupted: what was done stays; {again} goes on from there\n"
    assert done.returncode == 128 + number
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_while_it_works(number: signal.Signals, tmp_path: Path) -> None:
    """What is in a `with` block is cleaned up, what was started ends, and the exit code says why."""
    program = (
        "import subprocess, sys, tempfile\n"
        "from cncp import interrupted\n"
        "sys.argv = ['cncp', 'status']\n"
        "interrupted.while_working()\n"
        "try:\n"
        "    with tempfile.TemporaryDirectory(dir='.'):\n"
        "        subprocess.run(['sh', '-c', 'echo on; exec sleep 60'])\n"
        "except (KeyboardInterrupt, interrupted.Ended) as error:\n"
        "    sys.exit(interrupted.exit_code(error))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap")}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        # As a terminal does it: Ctrl-C is for all of the group, the others for the program alone.
        if number is signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert err == "interrupted\n"
    assert process.returncode == 128 + number
    assert list(tmp_path.glob("tmp*")) == []


def test_what_is_ignored_stays_so() -> None:
    """A program that nohup started outlives its terminal."""
    program = (
        "import os, signal\n"
        "from cncp import interrupted\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "interrupted.while_importing('up')\n"
        "interrupted.while_working()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('on')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "on\n"


def test_every_verb_that_changes_something_says_how_to_go_on() -> None:
    """What goes on is a verb, too."""
    assert set(interrupted.GOES_ON) <= set(guide.VERBS)
    assert set(interrupted.GOES_ON.values()) <= set(guide.VERBS)
    assert {"up", "scale", "restart", "down", "uninstall"} <= set(interrupted.GOES_ON)


@pytest.mark.parametrize("name", ["stage0.py", "cncp/__main__.py"])
def test_what_comes_first_is_built_into_python(name: str, home: Path) -> None:
    """With -S, no module is read from a file before the handler is there: while one is, a Ctrl-C is a traceback."""
    script = ROOT / "bootstrap" / name
    program = (
        "import os, runpy, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'site':\n"
        "            print(sorted(set(sys.modules) - before), flush=True)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "import pkgutil, io, __future__\n"
        "before = set(sys.modules)\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    words = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout == "[]\n"


def test_our_command_and_the_script_start_python_so() -> None:
    """With -S: what Python does by itself before ours is next to nothing."""
    assert 'exec "$PYTHON" -I -S' in (ROOT / "baremetal.sh").read_text()
    for source in ("machine/desired.py", "install/environment.py"):
        assert re.search(r" -S .*(?:__main__\.py|main\b)", (ROOT / "bootstrap" / "cncp" / source).read_text())


def test_what_comes_while_one_program_becomes_the_other_is_kept(home: Path) -> None:
    """A Ctrl-C between stage0 and `cncp up` is taken by the latter, before it does anything."""
    program = (
        "import os, signal, sys\n"
        "from cncp import interrupted\n"
        "interrupted.hold()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        f"main = {str(ROOT / 'bootstrap' / 'cncp' / '__main__.py')!r}\n"
        "os.execv(sys.executable, [sys.executable, '-s', '-S', main, 'up'])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_it_logs_in(number: signal.Signals, tmp_path: Path) -> None:
    """Interrupted while some hosts are connected and others are not yet: no connection and no folder is left."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        "#!/bin/sh\n"
        # The connection's socket is what tells that it stands; -O exit ends it.
        'for word; do case $before in -S) socket=$word ;; -O) [ "$word" = exit ] && rm "$socket" && exit ;; esac\n'
        "before=$word; done\n"
        'case $* in *slow*) echo on; exec sleep 5 ;; *) : >"$socket" ;; esac\n'
    )
    (programs / "ssh").chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap"), "TMPDIR": str(scratch)}
    env["PATH"] = f"{programs}:{env['PATH']}"
    words = [sys.executable, "-m", "cncp", "hosts.facts", "--hosts", "quick,slow"]
    with subprocess.Popen(
        words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while len(list(scratch.glob("*/said"))) + len(list(scratch.glob("*/s"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert err == "interrupted\n"
    assert process.returncode == 128 + number
    assert list(scratch.iterdir()) == []


def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    """Written to /dev/null or a pipe, it is not replaced by a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as reader:
        files.write_atomic(path, b"content")
        assert reader.communicate(timeout=30)[0] == b"content"
    assert path.is_fifo()
    # What is behind /dev/stdout there has no path of its own.
    code = "import pathlib; from cncp import files; files.write_atomic(pathlib.Path('/dev/stdout'), b'content')"
    shown = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "bootstrap")}, stdout=subprocess.PIPE, check=True
    )
    assert shown.stdout == b"content"


@pytest.mark.parametrize(
    "line",
    [
        "bundle.make --output PIPE",
        "vm.box --force --output PIPE",
        "vm.box --force --output PIPE.box",
        "vm.package --force --output .",
        "hosts.get --force --hosts localhost wanted out",
        "hosts.put --force --hosts localhost wanted PIPE",
    ],
)
def test_no_file_takes_the_place_of_a_device(
    line: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is too large to be written into one, or read again, is refused where a device or pipe is named."""
    monkeypatch.chdir(home)
    (home / "wanted").write_text("content")
    pipes = [home / name for name in ("PIPE", "PIPE.box", package.IMAGE, "out/localhost/wanted")]
    pipes[-1].parent.mkdir(parents=True)
    for pipe in pipes:
        os.mkfifo(pipe)
    assert program.answer(line.split()) in (2, 3)
    assert " no file" in capfd.readouterr().err
    assert all(pipe.is_fifo() for pipe in pipes)
    assert [path.name for path in home.rglob(".*-*")] == []
