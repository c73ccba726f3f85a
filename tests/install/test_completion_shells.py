"""Real shells complete a command line of cncp."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pexpect
import pytest

from cncp.config.sources import SOURCE
from cncp.files import write_atomic

TYPED = {
    "cncp stat\t": "cncp status",
    "cncp help jupyter.o\t": "cncp help jupyter.open",
    "cncp up --thr\t4": "cncp up --threads 4",
    "cncp up --pin nu\t": "cncp up --pin numa",
    "cncp up --pin=nu\t": "cncp up --pin=numa",
    "cncp status --limit gold1,l\t": "cncp status --limit gold1,localhost",
    "cncp run fir\t": "cncp run first.py",
}
"""What is typed into a shell, and the line it becomes."""


@pytest.mark.parametrize("shell", ["bash --norc --noprofile -i", "zsh -f -i", "fish --no-config --interactive"])
def test_completion_in_a_shell(shell: str, home: Path) -> None:
    """In the real shells a tab makes the word whole."""
    name, *options = shell.split()
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    (home / "bin").mkdir()
    program = f'#!/bin/sh\nPYTHONPATH={SOURCE / "bootstrap"} exec {sys.executable} -m cncp "$@"\n'
    write_atomic(home / "bin" / "cncp", program.encode(), 0o755)
    (home / "first.py").touch()
    (home / "cluster.toml").write_text('[[pool]]\nhosts = ["gold1"]\n')
    environment = {"PATH": f"{home}/bin:/usr/bin:/bin", "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    script = f"cncp --print-completion-script={name}"
    with pexpect.spawn(name, options, cwd=home, env=environment, encoding="utf-8", timeout=60) as typed:
        typed.setwinsize(24, 200)
        typed.sendline(f"{script} | source" if name == "fish" else f"source <({script})")
        for line in TYPED:
            # The line is not run, but printed: Ctrl-A goes to where it begins, Ctrl-E to where it ends.
            typed.send(f"{line}\x01echo \x05 >> lines\r")
        typed.sendline("echo do''ne")
        typed.expect("[^']done")
        typed.sendline("exit")
        typed.expect(pexpect.EOF)
    assert [row.strip() for row in (home / "lines").read_text().splitlines()] == [*TYPED.values()]
