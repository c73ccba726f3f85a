"""Commands, files and hardware on several hosts over real ssh: some down, some hanging, some not who they were."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pexpect
import pytest

from .fixtures import MakeHost
from .host import Host
from .nspawn import Lab
from .site import Site, until
from .sites import MakeSite

SILENT = """
import socket, time
server = socket.create_server(("0.0.0.0", 2222))
kept = []
while True:
    kept.append(server.accept())
"""


@pytest.fixture(scope="module")
def gold(lab: Lab, make_host: MakeHost) -> list[Host]:
    """Boot three hosts with sshd, and make a fourth that stays off."""
    made = [make_host(f"gold{number}", users=("ada",)) for number in (1, 2, 3)]
    made.append(make_host("gold4", users=("ada",)))
    lab.boot(*made[:3])
    made[2].exec(["systemd-run", "--unit=silent", "python3", "-c", SILENT])
    return made


@pytest.fixture(scope="module")
def desk(lab: Lab, gold: list[Host], bare: Host, make_site: MakeSite) -> Site:
    """Make the machine that ada sits at: it has the code, and her key lets her in everywhere."""
    site = make_site(bare, "ada")
    site.baremetal("--engines=1")
    lab.give_key(bare, "ada")
    file = '[[pool]]\nhosts = ["gold[1-3]"]\n'
    bare.write(f"{site.home}/cluster.toml", file, owner="ada")
    return site


def test_a_command_on_all(desk: Site) -> None:
    """Every host has its lines, no shell reads the words unless asked for, and a shell is a shell."""
    said = desk.cncp("hosts.run", "--", "hostname").stdout
    assert sorted(said.splitlines()) == ["[gold1] gold1", "[gold2] gold2", "[gold3] gold3"]
    words = ["a;b", "$HOME", "x  y", "'", "--", "*", "`id`"]
    said = desk.cncp("hosts.run", "--hosts", "gold[1-2]", "--json", "--", "printf", r"%s\n", *words).stdout
    shown = json.loads(said)
    assert shown["failed"] == {}
    assert shown["hosts"]["gold2"]["stdout"] == words
    assert desk.cncp("hosts.run", "--limit=gold2", "--", "sh", "-c", 'echo "$(id -un)"; echo err >&2').stdout == (
        "[gold2] ada\n"
    )


def test_each_command_can_be_seen_and_pasted(desk: Site) -> None:
    """Where it ran, for how long, how it ended; the words of a user's own command are shown to nobody."""
    said = desk.cncp("hosts.run", "--debug", "--hosts=gold1", "--", "hostname").stderr
    lines = dict(re.findall(r"^debug: \[gold1\] exited with 0 after \d+\.\d\d s: (.* (\S+))$", said, re.MULTILINE))
    pasted = next(line for line, last in lines.items() if last == "hostname")
    assert desk.host.run(["bash", "-c", pasted], "ada").stdout == "gold1\n"
    hidden = desk.cncp("hosts.run", "--debug", "--limit=gold1", "--", "printf", "%s", "SECRET")
    assert hidden.stdout == "[gold1] SECRET\n"
    assert "-- gold1 'printf ...'" in hidden.stderr
    assert "SECRET" not in hidden.stderr + desk.host.read(f"{desk.home}/.local/share/cncp/cncp.log")


def test_some_hosts_fail_and_the_others_go_on(desk: Site, gold: list[Host]) -> None:
    """A host that is off, one that says nothing, one that has another key: each its line, and exit code 3."""
    other = gold[0].read("/etc/ssh/ssh_host_ed25519_key.pub").split()
    known = desk.host.read(f"{desk.home}/.ssh/known_hosts")
    lines = [line if "gold2" not in line else " ".join([line.split()[0], *other[:2]]) for line in known.splitlines()]
    desk.host.write(f"{desk.home}/.ssh/known_hosts", "\n".join(lines) + "\n", "ada")
    file = (
        f'[[pool]]\nhosts = ["gold[1-4]", "silent"]\n[pool.host.silent]\naddress = "{gold[2].address}"\nport = 2222\n'
    )
    desk.host.write("/tmp/odd.toml", file, owner="ada")
    done = desk.cncp("hosts.run", "--file=/tmp/odd.toml", "--", "hostname", check=False)
    desk.host.write(f"{desk.home}/.ssh/known_hosts", known, "ada")
    assert done.returncode == 3
    assert sorted(done.stdout.splitlines()) == ["[gold1] gold1", "[gold3] gold3"]
    failed = dict(line.split(" failed: ") for line in done.stderr.splitlines() if line.startswith("["))
    assert list(failed) == ["[gold2]", "[gold4]", "[silent]"]
    assert failed["[gold2]"].startswith("its host key is not the one known (make sure")
    assert failed["[gold4]"].startswith(("there is no way to it", "no answer within"))
    assert failed["[silent]"].startswith("no answer within 15 s")
    assert done.stderr.splitlines()[-2:] == [
        "error: 3 of 5 hosts failed: gold2, gold4, silent",
        "hint: mend them, then run this again, on these alone with --limit gold2,gold4,silent",
    ]


def test_hosts_never_seen_are_refused_on_demand(desk: Site, gold: list[Host]) -> None:
    """By default they are trusted at first sight, as ssh's accept-new has it."""
    known = f"{desk.home}/.ssh/known_hosts"
    before = desk.host.read(known)
    desk.host.write(known, "", "ada")
    done = desk.cncp("hosts.run", "--hosts=gold1", "--host-keys=strict", "--", "true", check=False)
    assert "[gold1] failed: its host key is not known" in done.stderr
    assert desk.host.read(known) == ""
    desk.cncp("hosts.run", "--hosts=gold1", "--", "true")
    # Debian has ssh hash the names.
    assert desk.host.read(known).count("ssh-ed25519") == 1
    desk.host.write(known, before, "ada")


def test_a_command_that_hangs_is_ended(desk: Site, gold: list[Host]) -> None:
    """After the time-out it is gone on the hosts, too, and no connection is left."""
    done = desk.cncp("hosts.run", "--timeout=2", "--", "sleep", "54321", check=False)
    assert done.returncode == 3
    assert done.stderr.count("no end after 2 s: sleep 54321") == 3
    for host in gold[:3]:
        assert host.exec(["pgrep", "-fx", "sleep 54321"], check=False).returncode == 1
    assert desk.host.exec(["pgrep", "-u", "ada", "-x", "ssh"], check=False).returncode == 1


def test_an_interrupt_ends_it_everywhere(desk: Site, gold: list[Host]) -> None:
    """Ctrl-C on the terminal ends the command on every host, and the connections."""
    argv = [f"{desk.home}/.local/bin/cncp", "hosts.run", "--", "sh", "-c", "echo on; exec sleep 54324"]
    terminal = desk.host.shell_tty(argv, "ada", timeout=30)
    for _ in range(3):
        terminal.expect(r"\[gold\d\] on")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    for host in gold[:3]:
        gone = lambda: host.exec(["pgrep", "-fx", "sleep 54324"], check=False).returncode == 1  # noqa: B023, E731
        until(gone, 10, f"the end of the command on {host.name}")
    until(lambda: desk.host.exec(["pgrep", "-u", "ada", "-x", "ssh"], check=False).returncode == 1, 10, "the logout")


def test_a_host_that_goes_away_in_the_middle(desk: Site, gold: list[Host]) -> None:
    """The others' output is there, and the lost one is given up after its silence."""
    argv = [*desk.host.ssh_command("ada"), f"{desk.home}/.local/bin/cncp", "hosts.run", "--", "sh", "-c"]
    script = shlex.quote("echo here; test $(hostname) != gold3 || sleep 300")
    with subprocess.Popen([*argv, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        running = lambda: gold[2].exec(["pgrep", "-fx", "sleep 300"], check=False).returncode == 0  # noqa: E731
        until(running, 20, "the command on gold3")
        gold[2].network(up=False)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            gold[2].network(up=True)
    assert process.returncode == 3
    assert sorted(out.splitlines()) == ["[gold1] here", "[gold2] here", "[gold3] here"]
    assert "[gold3] failed: the connection was lost" in err


ODD = r"""
import os, pathlib
top = pathlib.Path("-odd 'folder'")
(top / "empty").mkdir(parents=True)
for name in ("a b", "-rf", "q'\"", "line\nbreak", "gr\u00fcn", "$HOME", "*"):
    (top / name).write_bytes(bytes(range(256)) * 5000)
(top / "-rf").chmod(0o600)
(top / "link").symlink_to("a b")
"""
SUM_OF_ALL = """
cd -- "$1"
find . -printf '%y %m %l %P\\0' | sort -z | md5sum
find . -type f -print0 | sort -z | xargs -0 md5sum -z | md5sum
"""
SUM = ["sh", "-c", SUM_OF_ALL, "sh"]


def test_there_and_back(desk: Site, gold: list[Host]) -> None:
    """Binary content and odd names arrive as they are, on every host, and come back so."""
    desk.host.run(["python3", "-c", ODD], "ada")
    here = desk.host.run([*SUM, "-odd 'folder'"], "ada").stdout
    desk.cncp("hosts.put", "./-odd 'folder'", "data/-x y")
    for host in gold[:3]:
        assert host.run([*SUM, "data/-x y"], "ada").stdout == here
    desk.cncp("hosts.get", "data/-x y", "got")
    for host in gold[:3]:
        assert desk.host.run([*SUM, f"got/{host.name}/-x y"], "ada").stdout == here
    refused = desk.cncp("hosts.get", "data/-x y", "got", check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: 'got/gold1/-x y' exists\nhint: ")
    again = desk.cncp("hosts.put", "./-odd 'folder'", "data/-x y/-x y", check=False)
    assert again.returncode == 0
    done = desk.cncp("hosts.put", "cluster.toml", ".profile", check=False)
    assert done.returncode == 3
    assert done.stderr.count("'.profile' exists there") == 3
    desk.cncp("hosts.put", "--force", "cluster.toml", ".profile")
    assert gold[1].run(["cat", ".profile"], "ada").stdout == desk.host.read(f"{desk.home}/cluster.toml")


def test_hardware_of_all(desk: Site, gold: list[Host]) -> None:
    """A table, CSV and JSON; what was found is kept, and a host without Python is named."""
    away = [name for name in gold[2].exec(["ls", "/usr/bin"]).stdout.split() if name.startswith("python3")]
    for name in away:
        gold[2].exec(["mv", f"/usr/bin/{name}", f"/usr/bin/away-{name}"])
    try:
        done = desk.cncp("hosts.facts", "--json", check=False)
    finally:
        for name in away:
            gold[2].exec(["mv", f"/usr/bin/away-{name}", f"/usr/bin/{name}"])
    assert done.returncode == 3
    assert "[gold3] failed: there is no Python 3" in done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["gold1", "gold2"]
    assert found["gold1"]["systemd"] is True
    assert found["gold1"]["pythons"][0].startswith("3.11")
    assert "bookworm" in found["gold1"]["os"]
    kept = json.loads(desk.host.read(f"{desk.state}/facts/gold2.json"))
    # Beside what was found the file says which format it has, and of which version.
    assert kept == {**found["gold2"], "format": 1, "cncp": kept["cncp"]}
    gold[1].network(up=False)
    cached = desk.cncp("hosts.facts", "--cached", "--hosts=gold[1-2]").stdout.splitlines()
    gold[1].network(up=True)
    assert cached[0].split()[:3] == ["HOST", "CPU", "CORES"]
    assert [line.split()[0] for line in cached[1:]] == ["gold1", "gold2"]


def test_a_first_file(desk: Site, gold: list[Host]) -> None:
    """What init prints is a cluster.toml: hosts alike in one pool, those that fail as comments."""
    done = desk.cncp("init", "gold[1-4]", check=False)
    assert done.returncode == 3
    assert 'hosts = ["gold[1-3]"]' in done.stdout
    assert "# gold4 is left out: " in done.stdout
    assert "One home folder" not in done.stdout
    assert gold[0].run(["sh", "-c", "ls -A | grep cncp"], "ada", check=False).stdout == ""
    desk.host.write("/tmp/first.toml", done.stdout, owner="ada")
    said = desk.cncp("hosts.run", "--file=/tmp/first.toml", "--", "true")
    assert said.stdout == ""


def test_a_shared_home_is_seen(
    desk: Site, lab: Lab, make_host: MakeHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hosts whose home folder is the same are named in the file."""
    shared = tmp_path_factory.mktemp("shared")
    hosts = [make_host(f"nfs{number}", users=("ada",), shared_home=shared) for number in (1, 2)]
    lab.boot(*hosts)
    lab.give_key(desk.host, "ada")
    said = desk.cncp("init", "nfs1", "nfs2", "gold1").stdout
    assert "# One home folder, with one installation: nfs[1-2]\n" in said
    assert [path.name for path in (shared / "ada").glob(".cncp*")] == []
