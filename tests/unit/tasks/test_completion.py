"""What a shell completes a command line of cncp with; that shells do: tests/install/test_completion_shells.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.config.settings import BY_KEY
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
