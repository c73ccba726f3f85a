"""What a first installation ends with: commands that work in the shell they are printed in, and on a laptop."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cncp.accounts import Account
from cncp.tasks import following

SHELLS = [shell for shell in ("sh", "bash", "zsh", "fish", "tcsh") if shutil.which(shell)]


@pytest.fixture
def account(home: Path) -> Account:
    """Return the account of this test, with our command where it is installed."""
    command = home / ".local" / "bin" / "cncp"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\necho "ours: $*"\n')
    command.chmod(0o755)
    return Account("ada", os.geteuid(), os.getegid(), str(home))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("path", ["without", "with", "another"])
def test_the_command_works_in_every_shell(shell: str, path: str, account: Account, tmp_path: Path) -> None:
    """Whatever the PATH holds: nothing of ours, our command, or another program of that name before it."""
    other = tmp_path / "other" / "cncp"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho not ours\n")
    other.chmod(0o755)
    folder = f"{account.home}/.local/bin"
    folders = {"without": [], "with": [folder], "another": [str(other.parent), folder]}[path]
    environment = {"HOME": account.home, "PATH": os.pathsep.join([*folders, "/usr/bin", "/bin"])}
    command = following.program(account, environment)
    assert (command == "cncp") is (path == "with")
    program = shutil.which(shell)
    assert program
    done = subprocess.run(
        [program, "-c", f"{command} status"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "ours: status\n"


def test_root_is_told_the_account_s_command(account: Account) -> None:
    """A tilde would be root's own home."""
    assert following.program(account, {"HOME": "/root", "PATH": "/usr/bin"}) == f"{account.home}/.local/bin/cncp"


@pytest.mark.parametrize(
    ("location", "connection", "name"),
    [
        ("node7.example.org", "", "ada@node7.example.org"),
        ("10.1.2.3", "", "ada@10.1.2.3"),
        ("vm", "192.0.2.9 51000 192.0.2.1 22", "ada@192.0.2.1"),
        ("vm", "192.0.2.9 51000 192.0.2.1 2222", "ada@192.0.2.1:2222"),
        ("vm", "", ""),
        ("vm", "nonsense", ""),
    ],
)
def test_a_name_that_a_laptop_can_resolve(location: str, connection: str, name: str, account: Account) -> None:
    """A bare host name is none: the address counts that the login came in by."""
    assert following.reached(location, account, {"SSH_CONNECTION": connection}) == name


def test_the_lines() -> None:
    """A laptop is told what works: through ssh where nothing else is let in."""
    assert following.lines("cncp", "", loopback=True) == ["next: cncp status | cncp shell"]
    said = "\n".join(following.lines("~/.local/bin/cncp", "ada@192.0.2.1", loopback=True))
    assert "next: ~/.local/bin/cncp status" in said
    assert "PATH" in said
    assert "cncp connect --host ada@192.0.2.1" in said
    assert "cncp keys.copy --host x" in following.lines("cncp", "x", loopback=False)[-1]
