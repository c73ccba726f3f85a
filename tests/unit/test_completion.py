"""What a shell completes a command line of cncp with, and that shells do."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pexpect
import pytest

from cncp.config.settings import BY_KEY
from cncp.config.sources import SOURCE
from cncp.files import write_atomic
from cncp.tasks import completion, guide
from cncp.tasks.program import answer

SERVICES = ["controller", "engine-0", "engine-1"]
MACHINES = ["cncp-vm1", "cncp-vm2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"up", "status", "keys.copy"}),
        ("st", {"status"}),
        ("-", {"--help", "--list", "--version", "--print-completion-script"}),
        ("--print-completion-script=z", {"--print-completion-script=zsh"}),
        ("--print-completion-script = z", {"zsh"}),
        ("help st", {"status"}),
        ("--help jupyter.o", {"jupyter.open"}),
        ("status ", {"--json", "--watch", "--limit", "--file", "--debug"}),
        ("up --pi", {"--pin"}),
        ("log --f", {"--follow", "--file"}),
        ("up --pin ", {"none", "cores", "numa"}),
        ("up --pin c", {"cores"}),
        ("up --pin=c", {"--pin=cores"}),
        ("up --pin = c", {"cores"}),
        ("up --pin =", {"none", "cores", "numa"}),
        ("up --jupyter ", {"true", "false"}),
        ("plan --host-keys ", {"accept-new", "strict"}),
        ("firewall --kind ", {"nftables", "ufw", "firewalld"}),
        ("vm.up --provider ", {"qemu", "libvirt", "virtualbox"}),
        ("logs ", {"controller", "engine-0", "engine-1"}),
        ("restart e", {"engine-0", "engine-1"}),
        ("logs --name engine-0,e", {"engine-0,engine-0", "engine-0,engine-1"}),
        ("vm.ssh --name ", {"cncp-vm1", "cncp-vm2"}),
        ("status --limit ", {"localhost", "gold1", "gold2"}),
        ("status --limit gold1,l", {"gold1,localhost"}),
        ("hosts.run --hosts g", {"gate", "gold1", "gold2"}),
        ("init l", {"lab.example.org", "localhost"}),
        ("keys.copy g", {"gate", "gold1", "gold2"}),
        ("connect --host l", {"lab.example.org", "localhost"}),
    ],
)
def test_what_a_shell_completes(
    words: str, expected: set[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Verbs, options, values, services and hosts, begun or not."""
    monkeypatch.setitem(completion._FOUND, "name", lambda verb: MACHINES if verb == "vm.ssh" else SERVICES)
    (home / "cluster.toml").write_text('[[pool]]\nhosts = ["gold[1-2]"]\n')
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("Host gate lab.example.org *.org !x\n  HostName a\nMatch host b\nhost=\n")
    monkeypatch.chdir(home)
    assert answer(["--complete", "--", "cncp", *words.split(" ")]) == 0
    found = {row.partition("\t")[0] for row in capsys.readouterr().out.splitlines()}
    assert found == expected if words else found >= expected


def test_what_a_completion_means(capsys: pytest.CaptureFixture[str]) -> None:
    """A verb and an option come with the words that help has for them."""
    answer(["--complete", "--", "cncp", "stat"])
    answer(["--complete", "--", "cncp", "up", "--threa"])
    brief = guide.VERBS["status"].brief
    assert capsys.readouterr().out == f"status\t{brief}\n--threads\t{BY_KEY['threads'].help}\n"


@pytest.mark.parametrize(
    "words",
    ["run ", "run f", "hosts.run -- u", "frobnicate x", "restart ", "vm.ssh --name ", "hosts.put d", "up --file "],
)
def test_what_a_shell_completes_by_itself(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is files, or nothing of ours, and where there is no cluster, it is never an error."""
    assert answer(["--complete", "--", "cncp", *words.split(" ")]) == 0
    assert capsys.readouterr() == ("", "")


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
