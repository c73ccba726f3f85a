"""A client that only ssh brings to its controller: through a tunnel, and on when the tunnel breaks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from .host import Host
from .laptop import Laptop
from .site import Site, until
from .sites import MakeSite

CLIENT_FILE = ".ipython/profile_cncp/security/ipcontroller-client.json"
RECORD = ".ipython/profile_cncp/pid/cncp-connect.json"

LIVING = """
import os, sys
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=20)
view = client.load_balanced_view()
for line in sys.stdin:
    pids = client[:].apply_async(os.getpid).get(timeout=60)
    print([len(set(pids)), sum(view.map_async(abs, range(20)).get(timeout=60))], flush=True)
"""


PROGRAM = """
import socket
import cncp
with cncp.Cluster.from_file("/tmp/cluster.toml").client(engines=2) as client:
    print(client[:].apply_sync(socket.gethostname))
"""
"""A client of a cluster elsewhere, from its file alone."""


@pytest.fixture(scope="module")
def laptop(make_host: Callable[..., Host], make_site: MakeSite) -> Laptop:
    """A laptop that may log in to gold1 by key."""
    host = make_host("laptop", "bookworm", ("cron", "python3-venv"), users=("bob",))
    host.boot()
    make_site(host, "bob")
    made = Laptop(host, "bob")
    made.task_key()
    return made


@pytest.fixture(scope="module")
def gold1(make_host: Callable[..., Host], make_site: MakeSite, laptop: Laptop) -> Site:
    """A cluster whose controller listens on loopback."""
    host = make_host("gold1", "bookworm", ("cron", "python3-venv"), users=("bob",))
    host.boot()
    made = make_site(host, "bob")
    laptop.prepare(host)
    laptop.let_in(made)
    made.baremetal("--engines=2")
    return made


def record(laptop: Laptop) -> dict[str, object]:
    """Return what the connect that runs says of itself."""
    return dict(json.loads(laptop.host.read(f"{laptop.home}/{RECORD}")))


def test_copy_says_that_only_ssh_gets_there(laptop: Laptop, gold1: Site) -> None:
    """A controller on loopback is not copied into a file that cannot work; the error names the way."""
    refused = laptop.task("keys.copy", "--host", "gold1", check=False)
    assert refused.returncode == 1
    assert "listens on loopback only" in refused.stderr
    assert "cncp connect --host gold1" in refused.stderr
    assert not laptop.host.exists(f"{laptop.home}/{CLIENT_FILE}")


def test_foreground(laptop: Laptop, gold1: Site) -> None:
    """It works while it runs; Ctrl-C ends it, and the file it wrote is gone."""
    terminal = laptop.host.shell_tty(laptop.words("connect", "--host", "gold1"), laptop.user, timeout=60)
    terminal.expect("connected to gold1")
    assert sorted(laptop.ask_engines()) == ["0", "1"]
    mode = laptop.host.exec(["stat", "-c", "%a", f"{laptop.home}/{CLIENT_FILE}"]).stdout
    assert mode == "600\n"
    again = laptop.task("connect", "--host", "gold1", "--background", check=False)
    assert again.returncode == 1
    assert "connected to gold1 already" in again.stderr
    terminal.sendcontrol("c")
    terminal.expect("<eof>|$")
    terminal.wait()
    assert not laptop.host.exists(f"{laptop.home}/{CLIENT_FILE}")
    assert not laptop.host.exec(["pgrep", "-u", "bob", "-x", "ssh"], check=False).stdout


def test_a_program_s_own_client(laptop: Laptop, gold1: Site) -> None:
    """It goes by a tunnel of its own that ends with it, or through a `connect` that runs."""

    def ssh() -> list[str]:
        return laptop.host.exec(["pgrep", "-u", "bob", "-x", "ssh"], check=False).stdout.split()

    laptop.host.write("/tmp/cluster.toml", 'controller = "gold1"\n[[pool]]\nhosts = ["gold1"]\n')
    assert laptop.python(PROGRAM).stdout == "['gold1', 'gold1']\n"
    assert ssh() == []
    assert not laptop.host.exists(f"{laptop.home}/{CLIENT_FILE}")
    laptop.task("connect", "--host", "gold1", "--as", "there", "--background")
    before = ssh()
    assert laptop.python(PROGRAM).stdout == "['gold1', 'gold1']\n"
    assert ssh() == before != []
    laptop.task("connect", "--stop")


@contextmanager
def living(laptop: Laptop) -> Iterator[Callable[[], list[int]]]:
    """Run one client on the laptop; give what asks all engines and returns what they answer."""
    laptop.host.write("/tmp/living.py", LIVING)
    argv = [*laptop.host.ssh_command("bob"), f"{laptop.state}/venv/bin/python", "-u", "/tmp/living.py"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        speak, hear = process.stdin, process.stdout

        def ask() -> list[int]:
            speak.write("go\n")
            speak.flush()
            return list(json.loads(hear.readline()))

        yield ask
        process.kill()


def test_a_living_client_survives(laptop: Laptop, gold1: Site) -> None:
    """The same client goes on after ssh was killed, after its sshd was, and after the network was away."""
    said = json.loads(laptop.task("connect", "--host", "gold1", "--background", "--json").stdout)
    assert said["host"] == "gold1"
    with living(laptop) as ask:
        assert ask() == [2, 190]
        for count, breaks in enumerate((kill_ssh, kill_sshd, cut_network), 1):
            breaks(laptop, gold1)
            assert ask() == [2, 190]
            now = record(laptop)
            assert (now["state"], now["reconnected"]) == ("up", count)
            assert now["ports"] == said["ports"]
    assert "gold1" in laptop.task("connect", "--status").stdout
    assert "ended: cncp" in laptop.task("connect", "--stop").stdout
    assert "nothing is connected" in laptop.task("connect", "--status").stdout
    assert not laptop.host.exists(f"{laptop.home}/{CLIENT_FILE}")


def test_what_keeps_it_from_connecting_is_said(laptop: Laptop, gold1: Site) -> None:
    """Ports in use, a server that forwards nothing, and a controller that is down are told apart."""
    listener = "import socket, sys; s = socket.create_server(('127.0.0.1', 30003)); print('ready', flush=True); input()"
    laptop.host.write("/tmp/listener.py", listener)
    argv = [*laptop.host.ssh_command("bob"), "python3", "-u", "/tmp/listener.py"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        taken = laptop.task("connect", "--host", "gold1", "--ports", "30000-30006", "--background", check=False)
        process.communicate("\n")
    assert (taken.returncode, "local ports are taken: 30003" in taken.stderr) == (1, True)
    setting = "/etc/ssh/sshd_config.d/no-forwarding.conf"
    gold1.host.write(setting, "AllowTcpForwarding no\n")
    gold1.host.exec(["systemctl", "restart", "ssh"])  # unlike a reload, ends when the port is open
    closed = laptop.task("connect", "--host", "gold1", check=False)
    assert (closed.returncode, "the controller on gold1 does not answer" in closed.stderr) == (1, True)
    gold1.host.exec(["rm", setting])
    gold1.host.exec(["systemctl", "restart", "ssh"])
    gold1.cncp("down")
    down = laptop.task("keys.copy", "--host", "gold1", check=False)
    assert (down.returncode, "no controller of this profile runs on gold1" in down.stderr) == (1, True)
    down = laptop.task("connect", "--host", "gold1", check=False)
    assert (down.returncode, "the controller on gold1 does not answer" in down.stderr) == (1, True)
    assert not laptop.host.exists(f"{laptop.home}/{CLIENT_FILE}")


def test_behind_a_firewall(laptop: Laptop, gold1: Site) -> None:
    """Where all but ssh is closed a copy names what it tried, and connect works beside a former file."""
    gold1.baremetal("--listen=all")
    copied = json.loads(laptop.task("keys.copy", "--host", "gold1", "--json").stdout)
    before = laptop.host.read(f"{laptop.home}/{CLIENT_FILE}")
    rule = ["to", gold1.host.address, "ipproto", "6", "dport", "1024-65534", "prohibit"]
    laptop.host.exec(["ip", "rule", "add", *rule])
    refused = laptop.task("keys.copy", "--host", "gold1", check=False)
    assert refused.returncode == 1
    assert f"runs, but its ports cannot be reached at {copied['address']}" in refused.stderr
    assert "cncp connect --host gold1" in refused.stderr
    assert laptop.host.read(f"{laptop.home}/{CLIENT_FILE}") == before
    laptop.task("connect", "--host", "gold1", "--background")
    assert sorted(laptop.ask_engines()) == ["0", "1"]
    assert "in use by connect" in laptop.task("keys.copy", "--host", "gold1", check=False).stderr
    laptop.task("connect", "--stop")
    assert laptop.host.read(f"{laptop.home}/{CLIENT_FILE}") == before
    laptop.host.exec(["ip", "rule", "del", *rule])
    assert sorted(laptop.ask_engines()) == ["0", "1"]


def kill_ssh(laptop: Laptop, gold1: Site) -> None:
    """End the laptop's ssh, and wait until it has been noticed."""
    before = record(laptop)["ssh"]
    laptop.host.exec(["kill", "-KILL", str(before)])
    until(lambda: record(laptop)["ssh"] not in (0, before), 20, "another ssh")


def kill_sshd(laptop: Laptop, gold1: Site) -> None:
    """End all of bob's sessions on the controller's machine."""
    before = record(laptop)["ssh"]
    gold1.host.exec(["pkill", "-KILL", "-u", "bob", "-x", "sshd"])
    until(lambda: record(laptop)["ssh"] not in (0, before), 20, "another ssh")


def cut_network(laptop: Laptop, gold1: Site) -> None:
    """Take the controller's machine off the network until ssh has given up; its sshd does not notice."""
    before = record(laptop)["ssh"]
    gold1.host.network(False)
    until(lambda: record(laptop)["state"] == "reconnecting", 40, "the loss to be noticed")
    gold1.host.network(True)
    until(lambda: record(laptop)["ssh"] not in (0, before), 40, "another ssh")
