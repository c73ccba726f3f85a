"""What goes wrong with many machines: hosts that are down, hang, lie, are full or cut off; a firewall."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .fleets import Fleet, MakeFleet
from .site import until

OUTAGE = float(os.environ.get("CNCP_TEST_OUTAGE", "20"))
"""Seconds without a network, longer than the tolerance; 300 says no more and takes its time."""

NAMES = ["delta1", "delta1", "delta2", "delta2", "delta3", "delta3"]


@pytest.fixture(scope="module")
def fleet(make_fleet: MakeFleet) -> Fleet:
    """Set up a cluster of three hosts with two engines each, the third down at first."""
    made = make_fleet("delta", 3, packages=("cron", "python3-venv", "nftables"))
    made.file('tolerance = 10\n[[pool]]\nhosts = ["delta[1-3]"]\nengines = 2\n')
    return made


def test_a_host_that_is_down_is_mended_later(fleet: Fleet) -> None:
    """What can start starts, the exit code is 3, and another run brings the host in."""
    third = fleet.hosts["delta3"].host
    third.network(False)
    done = fleet.master.baremetal(check=False)
    assert done.returncode == 3, done.stderr
    assert "4/4 engines answer" in done.stdout
    assert "1 of 4 hosts failed: delta3" in done.stderr
    assert "--limit delta3" in done.stderr
    third.network(True)
    mended = fleet.master.cncp("up", "--limit", "delta3")
    assert "2/2 engines answer" in mended.stdout
    assert sorted(fleet.ask_engines()) == NAMES


def test_a_host_that_goes_down_meanwhile(fleet: Fleet) -> None:
    """A host that is lost in the middle of `up` is named; it is whole after another run, and nothing else suffers."""
    third = fleet.hosts["delta3"]
    fleet.master.cncp("uninstall", "--limit", "delta3")
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(fleet.master.cncp, "up", check=False)
        until(lambda: third.host.exists(f"{third.home}/.local/share/cncp/venv"), 60, "the installation on delta3")
        third.host.power_cut()
        done = going.result()
    assert done.returncode == 3, done.stderr
    assert "4/4 engines answer" in done.stdout
    assert "1 of 4 hosts failed: delta3" in done.stderr
    third.host.boot()
    assert "6/6 engines answer" in fleet.master.cncp("up").stdout


def test_a_host_that_is_switched_off(fleet: Fleet) -> None:
    """It is named by verbs, the others go on, and its engines are back with it, under the ids they had."""
    before = fleet.ids()
    third = fleet.hosts["delta3"].host
    third.power_off()
    for words in (["status"], ["scale", "2"]):
        done = fleet.master.cncp(*words, check=False)
        assert (done.returncode, "[delta3] " in done.stderr) == (3, True), done.stderr
    fleet.await_engines(NAMES[:4])
    third.boot()
    fleet.await_engines(NAMES)
    assert fleet.ids() == before


def test_a_host_that_accepts_and_hangs(fleet: Fleet) -> None:
    """A host whose sshd says nothing is given up, and costs no other host its engines."""
    second = fleet.hosts["delta2"].host
    second.exec(["systemctl", "kill", "--signal=STOP", "--kill-whom=main", "ssh"])
    try:
        done = fleet.master.cncp("up", check=False)
        assert done.returncode == 3
        assert "[delta2] no answer within" in done.stderr
        assert "4/4 engines answer" in done.stdout
    finally:
        second.exec(["systemctl", "kill", "--signal=CONT", "--kill-whom=main", "ssh"])


def test_a_changed_host_key_is_refused(fleet: Fleet) -> None:
    """A host that shows another key than it had is refused, with the way to mend that."""
    master = fleet.master.host
    known = f"{fleet.master.home}/.ssh/known_hosts"
    former = master.read(known)
    other = fleet.hosts["delta2"].host.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    master.run(["ssh-keygen", "-q", "-R", "delta1"], "bob")
    master.write(known, f"{master.read(known)}delta1 ssh-ed25519 {other}\n", "bob", 0o600)
    try:
        done = fleet.master.cncp("status", check=False)
        assert done.returncode == 3
        assert "[delta1] its host key is not the one known; make sure that it is the same machine" in done.stderr
    finally:
        master.write(known, former, "bob", 0o600)


def test_a_full_disk_on_one_host(fleet: Fleet) -> None:
    """A host without room is left out before anything is written there."""
    third = fleet.hosts["delta3"].host
    third.exec(["mount", "-t", "tmpfs", "-o", "size=1m,uid=1000,mode=700", "tmpfs", "/home/bob/.local/share/cncp"])
    try:
        done = fleet.master.cncp("up", check=False)
        assert done.returncode == 3
        assert "[delta3] /home/bob has" in done.stderr or "MB free" in done.stderr, done.stderr
        assert "4/4 engines answer" in done.stdout
    finally:
        third.exec(["umount", "-l", "/home/bob/.local/share/cncp"])


def test_engines_that_cannot_start(fleet: Fleet) -> None:
    """What the log of a silent engine ends with is shown with its host."""
    fleet.master.cncp("up")
    fleet.master.cncp("down", "--limit", "delta3")
    with fleet.hosts["delta3"].without("ipykernel.comm"):
        done = fleet.master.cncp("up", check=False)
    assert done.returncode == 3
    assert "0 of 2 engines answer; its log ends with: ModuleNotFoundError" in done.stdout
    assert "4/6 engines answer" in done.stdout
    # The service manager goes on trying.
    fleet.await_engines(NAMES)


def test_an_engine_that_stays_silent_is_restarted(fleet: Fleet) -> None:
    """One that the controller has given up, and that does nothing: `up` starts it anew, and no other."""
    fleet.master.cncp("up")
    before = fleet.status()
    pids = {name: str(service["pid"]) for name, service in before.items()}
    fleet.hosts["delta2"].host.exec(["kill", "-STOP", pids["delta2 engine-1"]])
    others = [*NAMES]
    others.remove("delta2")
    fleet.await_engines(others)
    done = fleet.master.cncp("up")
    assert "[delta2] restarting engine-1: not registered with the controller after 40 s" in done.stderr
    assert "6/6 engines answer" in done.stdout
    after = fleet.status()
    assert [name for name, pid in pids.items() if str(after[name]["pid"]) != pid] == ["delta2 engine-1"]
    assert after["delta2 engine-1"]["id"] == before["delta2 engine-1"]["id"]


def test_a_cable_pulled_for_5_seconds_and_for_longer_than_the_tolerance(fleet: Fleet) -> None:
    """Engines of a host that was cut off come back by themselves, under the ids they had."""
    fleet.master.cncp("up")
    before = fleet.ids()
    first = fleet.hosts["delta1"].host
    for seconds in (5, OUTAGE):
        first.network(False)
        time.sleep(seconds)  # this is the outage itself
        first.network(True)
        fleet.await_engines(NAMES)
        assert fleet.ids() == before


def test_the_controllers_host_is_rebooted(fleet: Fleet) -> None:
    """All engines are back by themselves after the controller's machine was away, and whose ids are whose is known."""
    before = fleet.ids()
    fleet.master.host.reboot()
    fleet.await_engines(NAMES)
    assert fleet.ids() == before
    # Engines that come later must not be given these ids.
    table = json.loads(fleet.master.host.read(f"{fleet.master.home}/.ipython/profile_cncp/log/engines.json"))
    kept = {f"{host} engine-{number}": ident for host, number, ident in table["places"]}
    assert kept == {name: ident for name, ident in before.items() if "engine" in name}


def test_a_firewall_on_one_port_is_named(fleet: Fleet) -> None:
    """`check --from-hosts` names the port that a firewall closes, the address that was dialled, and the host."""
    identity = json.loads(
        fleet.master.host.read(f"{fleet.master.home}/.ipython/profile_cncp/security/cncp-identity.json")
    )
    port = identity["ports"]["all"][2]
    second = fleet.hosts["delta2"].host
    second.exec(["nft", "add", "table", "inet", "wall"])
    second.exec(["nft", "add chain inet wall out { type filter hook output priority 0 ; }"])
    second.exec(["nft", f"add rule inet wall out tcp dport {port} drop"])
    try:
        found = json.loads(fleet.master.cncp("check", "--from-hosts", "--json", check=False).stdout)
        (mine,) = (finding["what"] for finding in found if finding["host"] == "delta2")
        assert str(port) in mine
        assert fleet.master.host.address in mine
        assert not [finding for finding in found if finding["host"] in ("delta1", "delta3")]
        refused = fleet.master.cncp("up", check=False)
        assert refused.returncode == 3
        assert f"port {port} of" in refused.stderr
    finally:
        second.exec(["nft", "delete", "table", "inet", "wall"])
    assert "all is well" in fleet.master.cncp("check", "--from-hosts").stdout


def test_down_and_up_again(fleet: Fleet) -> None:
    """`down` stops all of it, over a reboot too; `up` brings all of it back."""
    fleet.master.cncp("down")
    assert {service["state"] for service in fleet.status().values()} == {"down"}
    assert "6/6 engines answer" in fleet.master.cncp("up").stdout
