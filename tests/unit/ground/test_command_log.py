"""What is written of commands: where, how they can be pasted, and nothing that is secret."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp import command_log, process
from cncp.config.inventory import HostSpec
from cncp.process import Command, CommandError, begin, run, users
from cncp.ssh.connection import Local
from cncp.ssh.rpc import dial

ODD = ["", "two words", "it's", "a\nb\tc", "\x1b[2Jx", "$HOME `id` \\ !", "\udcff\udc80" + "1", "ä\u202e…", "*", "~"]

CODE = """
import sys
from pathlib import Path
from cncp import command_log, process
command_log.begin(Path(sys.argv[1]), "up", debug=False)
for number in range(int(sys.argv[2])):
    process.run(["true", sys.argv[3] * 1000])
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """A CNCP_HOME whose commands are written down."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    (folder / "parents").touch()
    yield folder
    process.listener = None


def log(cluster: Path) -> str:
    """Return what has been written."""
    return (cluster / command_log.NAME).read_text()


def test_each_command_with_its_end(cluster: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whether it is waited for or not, ends well, badly, by force or never begins: one line, readable by its owner."""
    command_log.begin(cluster, "up", debug=True)
    run(["sh", "-c", "exit 3"], check=False, input="of nobody's business")
    with pytest.raises(CommandError):
        run(["sleep", "60"], timeout=0.01)
    with pytest.raises(CommandError):
        run(["/nonexistent/program"])
    with begin(["cat"], told=Command(["ssh", "gold1", "cat"], "gold1", " < file")) as running:
        assert running.ended() == 0
        assert running.poll() == 0
    lines = log(cluster).splitlines()
    ends = [re.sub(r"^\S+ up \d+ |\d+\.\d\d", "", line) for line in lines]
    assert ends == [
        "[localhost] exited with 3 after  s: sh -c 'exit 3'",
        "[localhost] was killed by SIGKILL after  s: sleep 60",
        "[localhost] exited with 127 after  s: /nonexistent/program",
        "[gold1] exited with 0 after  s: ssh gold1 cat < file",
    ]
    assert (cluster / command_log.NAME).stat().st_mode & 0o7777 == 0o600
    said = capfd.readouterr()
    assert said.err.splitlines() == ["debug: " + line.split(" ", 3)[3] for line in lines]
    assert said.out == ""


def test_without_debug_nothing_is_shown(cluster: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is written all the same."""
    command_log.begin(cluster, "status", debug=False)
    run(["true"])
    assert capfd.readouterr() == ("", "")
    assert log(cluster).count("\n") == 1


def test_it_can_be_pasted() -> None:
    """Bash makes of the line the words that were run; it is one line, and does nothing to a terminal."""
    line = command_log.pasted([sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *ODD])
    assert line.isprintable()
    done = subprocess.run(["bash", "--norc", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii(ODD)


def test_a_program_that_is_sent_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is run on bare hosts goes there as a word of 9 kB; pasted it is the file, and does the same."""
    told: list[Command] = []
    monkeypatch.setattr(process, "listener", lambda command, *_: told.append(command))
    found = dial(Local(HostSpec("localhost")), ["127.0.0.1"], [1], 1.0)
    assert found == {"127.0.0.1": ()}
    line = command_log.pasted(told[-1].words) + told[-1].source
    assert len(line) < 1500
    done = subprocess.run(["bash", "--norc", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"open": {"127.0.0.1": []}}


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:SECRET@index.example/simple",
        "https://SECRET@index.example/simple",
        "git+https://ada:SECRET@git.example/x.git",
        "--index-url=http://SECRET:x-oauth-basic@index.example",
        "postgresql://ada:SECRET@db.example/x",
        "a=https://one.example,b=https://SECRET@two.example",
    ],
)
def test_who_logs_in_is_left_out(address: str) -> None:
    """A password of an address, or a token in the name's place, as tools have shown in their logs before."""
    assert "SECRET" not in command_log.pasted(["uv", "pip", "install", address])
    assert "example" in command_log.pasted([address])


def test_what_names_no_password_stays() -> None:
    """Where a login is only a name it is part of the way."""
    for word in ("ssh://git@git.example/x.git", "ada@gold1", "https://pypi.org/simple", "git@git.example:x.git"):
        assert command_log.pasted([word]) == word


def test_a_user_s_own_words_are_not_told() -> None:
    """What is run for somebody may have a password among its words."""
    assert users(["mysql", "-pSECRET"]) == ["mysql", "..."]
    assert users(["hostname"]) == ["hostname"]


def test_no_other_folder_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is made; one that is not ours, or somebody else's, stays as it is; a link leads nowhere."""
    foreign, ours = tmp_path / "foreign", tmp_path / "ours"
    for folder in (foreign, ours):
        folder.mkdir()
    for home in (tmp_path / "none", foreign, None):
        command_log.begin(home, "up", debug=False)
        run(["true"])
    (ours / "node.json").touch()
    (ours / command_log.NAME).symlink_to(tmp_path / "elsewhere")
    command_log.begin(ours, "up", debug=False)
    run(["true"])
    (ours / command_log.NAME).unlink()
    with monkeypatch.context() as changed:
        changed.setattr(os, "geteuid", lambda: os.stat(ours).st_uid + 1)
        run(["true"])
    assert [*foreign.iterdir()] == []
    assert [path.name for path in ours.iterdir()] == ["node.json"]
    assert not any((tmp_path / name).exists() for name in ("none", "elsewhere"))
    run(["true"])
    assert log(ours).count("\n") == 1
    process.listener = None


def test_what_cannot_be_written_is_in_nobody_s_way(cluster: Path) -> None:
    """Commands go on."""
    (cluster / command_log.NAME).mkdir()
    command_log.begin(cluster, "up", debug=False)
    assert run(["true"]).ok
    (cluster / command_log.NAME).rmdir()
    os.mkfifo(cluster / command_log.NAME)
    assert run(["true"]).ok


def test_after_an_uninstall_it_does_not_come_back(cluster: Path) -> None:
    """What ends after the folder is gone makes no new one, even where the file was full."""
    command_log.begin(cluster, "uninstall", debug=False)
    run(["true"])
    for path in cluster.iterdir():
        path.unlink()
    cluster.rmdir()
    for _ in range(12):
        run(["true", "x" * 100_000])
    assert not cluster.exists()


def test_it_stays_bounded(cluster: Path) -> None:
    """However many write at once: every line is whole, and of two files none is much larger than it may be."""
    words = [sys.executable, "-c", CODE, str(cluster), "40"]
    environment = {**os.environ, "PYTHONPATH": str(Path(command_log.__file__).parents[1])}
    writers = [subprocess.Popen([*words, letter * 30], env=environment) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert sorted(path.name for path in cluster.iterdir()) == ["cncp.log", "cncp.log.1", "parents"]
    for path in cluster.glob("cncp.log*"):
        assert path.stat().st_size < command_log.SIZE + 3 * 31_000
        assert path.stat().st_mode & 0o7777 == 0o600
        for line in path.read_text().splitlines():
            word = shlex.split(line)[-1]
            assert (len(word), len(set(word))) == (30_000, 1)
