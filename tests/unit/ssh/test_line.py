"""A command as one line for whatever login shell: what arrives is what was sent, and noise is none of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cncp.config.inventory import HostSpec
from cncp.process import Command
from cncp.ssh.command import Way
from cncp.ssh.command_line import MARK, line
from cncp.ssh.connection import Host, Local
from cncp.ssh.host_errors import HostError
from cncp.ssh.stream import lines, running

SHELLS = [name for name in ("sh", "bash", "dash", "zsh", "fish", "tcsh", "csh", "mksh", "ksh") if shutil.which(name)]

NOISY = {
    ".bashrc": "echo noise of bash; echo more >&2\n",
    ".zshenv": "echo noise of zsh; echo more >&2; printf 'without end'\n",
    ".config/fish/config.fish": "echo noise of fish; echo more >&2\n",
    ".cshrc": "echo noise of csh\nset echo\n",
    ".tcshrc": "echo noise of tcsh\nset echo\nset backslash_quote\n",
}
"""Login files that print; csh is told to echo all it runs as well."""


class Behind(Host):
    """The machine we are on, through a login shell, as sshd runs a line: what ssh would carry, without it."""

    def __init__(self, shell: str, folder: Path | None = None) -> None:
        super().__init__(HostSpec("far"))
        self._shell = shell
        self._home = folder or Path.home()

    def way(self, argv: Sequence[str], told: Sequence[str] | None = None) -> Way:
        """Give the line to the shell."""
        words = ["env", f"HOME={self._home}", self._shell, "-c", line("far", argv)]
        return Way(words, MARK, Command(told or argv, "far"))


@pytest.fixture
def noisy(home: Path) -> Path:
    """Return a home whose login files print."""
    for name, content in NOISY.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    return home


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty home."""
    return tmp_path_factory.mktemp("home")


ODD = [
    *("a b", "it's", 'q"q', "!x !! x!", "new\nline\n", "\n", "", "tab\t", "ñ é", "\\", "\\n", "\\\\'", "%s%d%%"),
    *("$HOME", "`id`", "$(id)", "^a^b^", "~", "*", "-n", "{a,b}", "#c", "&", ";", "<", ">", "|", "\r", "[a]", "()"),
    *("\x01\x7f", os.fsdecode(b"\xff\xfe"), "'" * 5, "x" * 3000, "if true; then\n  echo 'halves'\nfi\n"),
]

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=12, deadline=None)
@example(argv=ODD)
@given(argv=st.lists(WORDS, min_size=1, max_size=8))
def test_every_login_shell_reads_the_same_words(quiet: Path, shell: str, argv: list[str]) -> None:
    """Any bytes but NUL arrive as they are: quotes, newlines, exclamation marks, what is no ASCII."""
    done = Behind(shell, quiet).run(["printf", r"%s\0", *argv])
    assert done.output.split(b"\0")[:-1] == [os.fsencode(word) for word in argv]


@pytest.mark.parametrize("shell", SHELLS)
def test_what_login_files_print_is_no_output(noisy: Path, shell: str) -> None:
    """Neither of what is run to its end, nor of streams; a script of many lines runs whole or not at all."""
    host = Behind(shell)
    script = "cat\necho 'it''s out!'\necho err >&2\nexit 3\n"
    done = host.run(["sh", "-c", script], input=b"in\n", check=False)
    assert (done.status, done.output, done.stderr) == (3, b"in\nits out!\n", "err")
    out: list[str] = []
    err: list[str] = []
    assert lines(host, ["sh", "-c", "echo out; echo err >&2"], 20, out.append, err.append) == 0
    assert (out, err) == (["out"], ["err"])
    with running(host, ["printf", r"\0\377\n"], 20) as command:
        assert command.output.read() == b"\0\xff\n"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("echo This account is currently not available.; exit 1", "This account is currently not available."),
        ("echo 'This service allows sftp connections only.' >&2; exit 1", "sftp connections only"),
        ("exit 254", "it exited with 254"),
    ],
)
def test_a_login_that_runs_nothing_is_told_in_its_own_words(tmp_path: Path, says: str, told: str) -> None:
    """On whichever stream they come, of a command with and without a result, and of streams."""
    shell = tmp_path / "nologin"
    shell.write_text(f"#!/bin/sh\n{says}\n")
    shell.chmod(0o755)
    host = Behind(str(shell))
    with pytest.raises(HostError, match="it runs no command for us: .*" + told):
        host.run(["true"], check=False)
    with pytest.raises(HostError, match="it runs no command for us: .*" + told):
        lines(host, ["true"], 20, lambda _: None, lambda _: None)


def test_what_is_no_command_is_not_sent() -> None:
    """NUL cannot be in one, and what is longer than a kernel takes is told as that."""
    with pytest.raises(HostError, match="NUL"):
        line("far", ["a\0b"])
    with pytest.raises(HostError, match="too long"):
        line("far", ["x" * 200_000])


def test_the_line_itself_is_harmless_everywhere() -> None:
    """It is one line of printable ASCII without an exclamation mark, and has four single quotes."""
    made = line("far", ODD)
    assert made.isascii()
    assert made.isprintable()
    assert "!" not in made
    assert made.count("'") == 4


def test_a_command_that_says_the_mark_keeps_it(home: Path) -> None:
    """Only the first counts; here, where no login comes before a command, none does."""
    text = MARK.decode() * 2
    assert Behind("sh").run(["printf", "%s", text]).stdout == text
    assert Local(HostSpec("here")).run(["printf", "%s", text]).stdout == text
