"""A profile made by cncp in other hands: plain ipcluster, a colleague; and what stands around its engines."""

from __future__ import annotations

import json
import os

import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite

AFFINITY = """
import json, os, ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=20)
def look():
    import os, threading
    seen = [sorted(os.sched_getaffinity(0))]
    thread = threading.Thread(target=lambda: seen.append(sorted(os.sched_getaffinity(0))))
    thread.start(); thread.join()
    return os.getpid(), seen, os.environ["OMP_NUM_THREADS"]
print(json.dumps(client[:].apply_sync(look)))
"""

WAIT = """
import sys, ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=30)
client.wait_for_engines(int(sys.argv[1]), timeout=60)
print(client[:].apply_sync(pow, 2, 5))
"""

COUNT = "import ipyparallel; print(len(ipyparallel.Client(profile='cncp', timeout=20).ids))"


@pytest.fixture(scope="module")
def site(bare: Host, make_site: MakeSite) -> Site:
    """A plain user with two engines under supervisord, the controller listening for others."""
    made = make_site(bare, "bob")
    made.baremetal("--engines=2", "--threads=1", "--listen=all", "--external=bare", "--tolerance=10")
    return made


def engines(site: Site) -> list[list[int]]:
    """Return the processors that each engine may use, held to be the same for kernel, threads and /proc."""
    found = []
    for pid, (mine, of_thread), _ in json.loads(site.python(AFFINITY).stdout):
        assert mine == of_thread
        shown = site.host.exec(["grep", "Cpus_allowed_list", f"/proc/{pid}/status"]).stdout.split()[1]
        numbers = [span.split("-") for span in shown.split(",")]
        assert mine == [cpu for span in numbers for cpu in range(int(span[0]), int(span[-1]) + 1)]
        found.append(mine)
    return found


def test_engines_are_pinned(site: Site) -> None:
    """Engines restart with their own cores, come back to them after their death, and the controller is left alone."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("there is one core only")
    assert engines(site) == [allowed, allowed]
    controller = site.status()["controller"]["pid"]
    site.baremetal("--pin=cores")
    assert engines(site) == [allowed[:1], allowed[1:2]]
    assert site.status()["controller"]["pid"] == controller
    site.host.exec(["kill", "-KILL", str(site.status()["engine-1"]["pid"])])
    site.await_engines(2)
    assert engines(site) == [allowed[:1], allowed[1:2]]
    site.baremetal("--pin=numa")
    nodes = site.host.exec(["sh", "-c", "ls -d /sys/devices/system/node/node[0-9]* | wc -l"], check=False).stdout
    if int(nodes) <= 1:
        assert engines(site) == [allowed, allowed]
    site.baremetal("--pin=none")


def test_one_engine_a_node_has_all_cores(site: Site) -> None:
    """For libraries that use all cores themselves: one engine, as many threads as cores."""
    site.baremetal("--engines=1", "--threads=auto")
    ((_, (mine, _), threads),) = json.loads(site.python(AFFINITY).stdout)
    assert mine == sorted(os.sched_getaffinity(0))
    assert int(threads) == len(mine)
    site.baremetal("--engines=2", "--threads=1")


def test_firewall_rules_of_a_cluster(site: Site) -> None:
    """The ports of this cluster, for the hosts of its file; on loopback nothing has to be opened."""
    security = f"{site.home}/.ipython/profile_cncp/security"
    files = [json.loads(site.host.read(f"{security}/ipcontroller-{kind}.json")) for kind in ("engine", "client")]
    dialled = {
        port for file in files for value in file.values() for port in (value if isinstance(value, list) else [value])
    }
    identity = json.loads(site.host.read(f"{security}/cncp-identity.json"))["ports"]
    site.host.write("/tmp/gold.toml", f'[[pool]]\nhosts = ["{site.host.address}", "192.0.2.7"]\n', owner="bob")
    said = site.cncp("firewall", "--file=/tmp/gold.toml", "--kind=ufw", "--clients=198.51.100.0/24").stdout
    assert f"from {site.host.address} to any port" in said
    assert "from 192.0.2.7 to any port" in said
    assert "from 198.51.100.0/24 to any port" in said
    low, high = min(identity["all"]), max(identity["all"])
    spans = [word.split(":") for line in said.splitlines() for word in line.split(" port ")[1].split()[0].split(",")]
    opened = {port for span in spans for port in range(int(span[0]), int(span[-1]) + 1)}
    assert opened == {port for port in dialled if isinstance(port, int) and low <= port <= high}
    assert not opened & set(identity["internal"])
    site.host.write("/tmp/near.toml", '[[pool]]\nhosts = ["localhost"]\n', owner="bob")
    near = site.cncp("firewall", "--file=/tmp/near.toml", "--kind=ufw").stdout
    assert near.startswith("# No engine dials the controller")
    assert "ufw allow" not in near
    rules = site.cncp("firewall").stdout
    for words in ("# nftables", "# ufw", "# firewalld", "There is no list of hosts"):
        assert words in rules
    assert site.cncp("firewall", "--kind=iptables", check=False).returncode == 2


def test_plain_ipcluster_takes_the_profile(site: Site) -> None:
    """With cncp down, ipcluster starts as many engines with the same keys; cncp then takes over again."""
    ipcluster = f"{site.state}/venv/bin/ipcluster"
    security = f"{site.home}/.ipython/profile_cncp/security"
    keys = site.host.read(f"{security}/ipcontroller-client.json")
    site.cncp("down")
    site.host.run([ipcluster, "start", "--profile=cncp", "--daemonize"], "bob", timeout=120)
    assert site.python(WAIT, "2").stdout == "[32, 32]\n"
    assert json.loads(site.host.read(f"{security}/ipcontroller-client.json"))["key"] == json.loads(keys)["key"]
    site.host.run([ipcluster, "stop", "--profile=cncp"], "bob")
    site.host.exec(
        [
            "sh",
            "-c",
            "for n in $(seq 100); do pgrep -u bob -f 'ipyparallel|ipcluster' >/dev/null || break; sleep 0.1; done",
        ]
    )
    site.baremetal()
    # ipcluster's engines, killed with their controller, stay registered for as long as the tolerance lasts.
    until(lambda: site.python(COUNT).stdout == "2\n", 60, "the end of ipcluster's engines")
    assert len(site.ask_engines()) == 2


def test_a_colleague_takes_it_over(site: Site) -> None:
    """What is exported holds no key and no path, and its import is what up takes."""
    site.host.run(["sh", "-c", "printf 'engines = 1\\nheartbeat = 700\\n' > cluster.toml"], "bob")
    site.cncp("profile.export", "--force")
    exported = site.host.read(f"{site.home}/cncp-profile.json")
    identity = json.loads(site.host.read(f"{site.home}/.ipython/profile_cncp/security/cncp-identity.json"))
    for secret in (identity["key"], identity["curve_secretkey"], "/home/", "/tmp/"):
        assert secret not in exported
    site.host.run(["mkdir", "-p", "there"], "bob")
    site.cncp("profile.import", "cncp-profile.json", "--output=there/cluster.toml")
    text = site.host.read(f"{site.home}/there/cluster.toml")
    assert "heartbeat = 700" in text
    site.cncp("plan", "--forget", "--file=there/cluster.toml")
