"""Engines that a firewall keeps from the controller: ssh carries the ports, from one side or from the other."""

from __future__ import annotations

import json

import pytest

from .fleets import Fleet, MakeFleet, differences
from .host import Host

NAMES = ["tau1", "tau1", "tau2", "tau2"]
FILE = """
tolerance = 10
[[pool]]
hosts = ["tau1"]
engines = 2
connect = "reverse"
[[pool]]
hosts = ["tau2"]
engines = 2
connect = "forward"
service_manager = "tmux"
"""
KEYS = ".ssh/authorized_keys"


def wall(host: Host, rule: str) -> None:
    """Have a host drop what a rule of nftables matches of what it sends, after a reboot, too."""
    chain = f"chain out {{ type filter hook output priority 0; {rule} drop; }};"
    host.write("/etc/nftables.conf", f"flush ruleset\ntable inet wall {{ {chain} }}\n")
    host.exec(["systemctl", "enable", "nftables"])
    host.exec(["systemctl", "restart", "nftables"])


def no_wall(host: Host) -> None:
    """Let it send what it likes again."""
    host.write("/etc/nftables.conf", "flush ruleset\n")
    host.exec(["systemctl", "restart", "nftables"])


@pytest.fixture(scope="module")
def fleet(make_fleet: MakeFleet) -> Fleet:
    """Make a master that one host cannot call at all, and another only by ssh."""
    made = make_fleet("tau", 2, packages=("cron", "python3-venv", "nftables", "tmux"))
    master = made.master.host.address
    wall(made.hosts["tau1"].host, f"ip daddr {master} ct state new tcp flags syn")
    wall(made.hosts["tau2"].host, f"ip daddr {master} ct state new tcp dport != 22")
    return made


@pytest.fixture(scope="module")
def before(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Remember all machines as they were."""
    return fleet.trees()


def keys(fleet: Fleet) -> dict[str, list[str]]:
    """Return the lines of authorized_keys that are of tunnels, by host; the master's, too."""
    found = {}
    for site in (fleet.master, *fleet.hosts.values()):
        text = site.host.exec(["cat", f"{site.home}/{KEYS}"], check=False).stdout
        found[site.host.name] = [line for line in text.splitlines() if "cncp tunnel" in line]
    return found


def test_both_ways(fleet: Fleet, before: dict[str, dict[str, str]]) -> None:
    """All engines answer, although none of their machines reaches a port of the controller."""
    assert before
    fleet.file(FILE)
    done = fleet.master.baremetal()
    assert "4/4 engines answer" in done.stdout
    assert sorted(fleet.ask_engines()) == NAMES
    states = fleet.status()
    assert (states["localhost tunnel-tau1"]["state"], states["tau2 tunnel-tau0"]["state"]) == ("up", "up")
    assert "all is well" in fleet.master.cncp("check", "--from-hosts").stdout
    assert "nothing to change" in fleet.master.cncp("up").stdout


def test_nothing_listens_wider_than_it_must(fleet: Fleet) -> None:
    """With all engines behind tunnels, controller and tunnels listen on loopback alone."""
    identity = json.loads(
        fleet.master.host.read(f"{fleet.master.home}/.ipython/profile_cncp/security/cncp-identity.json")
    )
    ports = set(map(str, identity["ports"]["all"]))
    for site in (fleet.master, *fleet.hosts.values()):
        listening = [line.split()[3] for line in site.host.exec(["ss", "-Hltn"]).stdout.splitlines()]
        ours = [listener.rpartition(":")[0] for listener in listening if listener.rpartition(":")[2] in ports]
        assert set(ours) == {"127.0.0.1"}, site.host.name


def test_the_key_of_a_tunnel_opens_nothing_else(fleet: Fleet) -> None:
    """Whoever takes it gets no shell and no other port, and nobody but its owner can read it."""
    lines = keys(fleet)
    assert {name: len(found) for name, found in lines.items()} == {"tau0": 1, "tau1": 1, "tau2": 0}
    master = fleet.master
    key = f"{master.home}/.local/share/cncp/tunnels/key"
    assert master.host.exec(["stat", "-c", "%a", key]).stdout.strip() == "600"
    login = ["ssh", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "tau1"]
    shell = master.host.run([*login, "id"], "bob", check=False)
    assert (shell.returncode, shell.stdout) == (1, "")
    for way in (["-L", "127.0.0.1:4000:127.0.0.1:22"], ["-R", "127.0.0.1:4001:127.0.0.1:22"]):
        tried = [*login[:-1], "-o", "ExitOnForwardFailure=yes", "-N", "-f", *way, "tau1"]
        done = master.host.run(tried, "bob", check=False)
        if way[0] == "-R":
            assert "remote port forwarding failed" in done.stderr
        else:
            # A forward from here is refused when it is used.
            ask = "import socket; s = socket.create_connection(('127.0.0.1', 4000)); s.settimeout(10); print(s.recv(4))"
            assert "SSH-" not in master.host.run(["python3", "-c", ask], "bob", check=False).stdout
            master.host.exec(["pkill", "-f", "127.0.0.1:4000"])


@pytest.mark.parametrize(
    "name",
    ["tau1", pytest.param("tau2", marks=pytest.mark.slow(held="that of the other way, test_a_machine_is_rebooted"))],
)
def test_ssh_and_sshd_are_killed(fleet: Fleet, name: str) -> None:
    """A tunnel that is cut at either end is there again, and so are the engines, under their ids."""
    ids = fleet.ids()
    client, server = (fleet.master, fleet.hosts[name]) if name == "tau1" else (fleet.hosts[name], fleet.master)
    client.host.exec(["pkill", "-KILL", "-u", "bob", "-f", "ssh -M -S [^ ]+ -N -T -o"])
    fleet.await_engines(NAMES)
    assert fleet.ids() == ids
    server.host.exec(["pkill", "-KILL", "-u", "bob", "-x", "sshd"])
    fleet.master.host.logout()
    fleet.await_engines(NAMES)
    assert fleet.ids() == ids
    service = "localhost tunnel-tau1" if name == "tau1" else "tau2 tunnel-tau0"
    client.host.exec(["kill", "-KILL", str(fleet.status()[service]["pid"])])
    fleet.await_engines(NAMES)
    assert fleet.ids() == ids


@pytest.mark.parametrize("name", ["tau0", "tau1", "tau2"])
def test_a_machine_is_rebooted(fleet: Fleet, name: str) -> None:
    """Nobody has to do anything for the tunnels to come back."""
    ids = fleet.ids()
    (fleet.master if name == "tau0" else fleet.hosts[name]).host.reboot()
    fleet.await_engines(NAMES)
    assert fleet.ids() == ids


def test_a_host_that_is_away_keeps_its_tunnel(fleet: Fleet) -> None:
    """Another run without it changes nothing of it; what is broken is named with where to look."""
    first = fleet.hosts["tau1"].host
    first.network(False)
    try:
        assert fleet.master.cncp("up", check=False).returncode == 3
        found = json.loads(fleet.master.cncp("check", "--limit", "localhost", "--json", check=False).stdout)
        assert {finding["what"] for finding in found} == {"tunnel-tau1 is not connected"}
        assert "tau1" in fleet.master.cncp("logs", "--limit", "localhost", "--name", "tunnel-tau1").stdout
    finally:
        first.network(True)
    fleet.await_engines(NAMES)


def test_a_port_that_is_taken_is_named(fleet: Fleet) -> None:
    """A stranger on one of the ports there: the host fails alone, with the port and the way to look."""
    identity = json.loads(
        fleet.master.host.read(f"{fleet.master.home}/.ipython/profile_cncp/security/cncp-identity.json")
    )
    port = identity["ports"]["all"][3]
    first = fleet.hosts["tau1"].host
    fleet.master.cncp("down")
    stranger = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    first.exec(["systemd-run", "--unit=stranger", "python3", "-c", stranger])
    try:
        done = fleet.master.cncp("up", check=False)
        assert done.returncode == 3
        assert "[tau1] the tunnel does not carry port" in done.stderr
        assert str(port) in done.stderr
        assert "cncp logs --limit localhost --name tunnel-tau1" in done.stderr
        said = fleet.master.cncp("logs", "--limit", "localhost", "--name", "tunnel-tau1").stdout
        assert f"remote port forwarding failed for listen port {port}" in said
    finally:
        first.exec(["systemctl", "stop", "stranger"])
    assert "4/4 engines answer" in fleet.master.cncp("up").stdout


def test_directly_after_all(fleet: Fleet) -> None:
    """Where the firewall is gone, so are tunnels and keys, once the file says so."""
    for site in fleet.hosts.values():
        no_wall(site.host)
    fleet.file(FILE.replace('connect = "reverse"', "").replace('connect = "forward"', ""))
    assert "4/4 engines answer" in fleet.master.cncp("up").stdout
    assert not any(keys(fleet).values())
    assert not [name for name in fleet.status() if "tunnel" in name]


def test_from_a_controller_elsewhere(fleet: Fleet) -> None:
    """The machine with the controller keeps the tunnel with a key of its own, though it may log in nowhere."""
    fleet.file('controller = "tau1"\ntolerance = 10\n[[pool]]\nhosts = ["tau2"]\nengines = 2\nconnect = "reverse"\n')
    address = fleet.hosts["tau1"].host.address
    wall(fleet.hosts["tau2"].host, f"ip daddr {address} ct state new tcp flags syn")
    done = fleet.master.cncp("up")
    assert "2/2 engines answer" in done.stdout
    assert {name: len(found) for name, found in keys(fleet).items()} == {"tau0": 0, "tau1": 0, "tau2": 1}
    assert fleet.status()["tau1 tunnel-tau2"]["state"] == "up"


def test_the_controller_moves(fleet: Fleet) -> None:
    """With it go tunnels and keys: nothing of the former ones runs, and nobody is let in who need not be."""
    fleet.file('controller = "tau2"\ntolerance = 10\n[[pool]]\nhosts = ["tau1"]\nengines = 2\nconnect = "forward"\n')
    no_wall(fleet.hosts["tau2"].host)
    assert "2/2 engines answer" in fleet.master.cncp("up").stdout
    assert {name: len(found) for name, found in keys(fleet).items()} == {"tau0": 0, "tau1": 0, "tau2": 1}
    assert [name for name in fleet.status() if "tunnel" in name] == ["tau1 tunnel-tau2"]
    # The line of the tunnel from the host that had the controller has gone from there by itself.
    fleet.file("tolerance = 10\n" + '[[pool]]\nhosts = ["tau1"]\nengines = 2\nconnect = "forward"\n'
               '[[pool]]\nhosts = ["tau2"]\nengines = 2\n')  # fmt: skip
    assert "4/4 engines answer" in fleet.master.cncp("up").stdout
    assert sorted(fleet.ask_engines()) == NAMES
    assert {name: len(found) for name, found in keys(fleet).items()} == {"tau0": 1, "tau1": 0, "tau2": 0}
    assert [name for name in fleet.status() if "tunnel" in name] == ["tau1 tunnel-tau0"]


def test_nothing_is_left(fleet: Fleet, before: dict[str, dict[str, str]]) -> None:
    """An uninstall takes tunnels away, and their keys out of all authorized_keys."""
    fleet.master.cncp("uninstall")
    assert not any(keys(fleet).values())
    fleet.master.host.exec(["rm", f"{fleet.master.home}/cluster.toml"])
    assert differences(before, fleet.trees()) == []
