"""Slurm puts a job's nodes into the image that it asks for, by the files that the documents show.

Real slurmctld, slurmd and munge; nodes are hosts that really boot anew for another image, with cidkid.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..netboot.loopback_site import NEW, OLD, PACKED
from ..netboot.loopback_site import Site as Cidd
from .host import Host
from .netboot_nodes import HostNode, furnish, write
from .nspawn import Lab
from .site import ROOT, checkout, until

EXAMPLES = ROOT / "docs" / "examples" / "slurm"
PACKAGES = ("munge", "slurm-client", "slurmctld", "slurmd")

CGROUPS = "CgroupPlugin=cgroup/v1\n"
DRAIN = "#!/bin/sh\nwhile [ -e /run/busy ]; do sleep 0.1; done\n"
"""What the image does to drain: a mark has it be at work."""

COMMAND = '#!/bin/sh\nPYTHONPATH=/opt/cncp exec python3 -m cncp.netboot.cidcapt "$@"\n'


class Slurm:
    """The host with slurmctld, the nodes' hosts, and cidd."""

    def __init__(self, head: Host, nodes: list[Host], cidd: Cidd) -> None:
        self.head, self.nodes, self.cidd = head, nodes, cidd

    def submit(self, *words: str, script: str = "cat /etc/cncp/image") -> str:
        """Submit a job; return its number."""
        lines = f"#!/bin/sh\n{script}\n"
        argv = ["sbatch", "--parsable", "--chdir=/tmp", "--output=/var/tmp/%j.out", *words]
        return self.head.exec(argv, input=lines).stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """Return what Slurm says of a job."""
        shown = self.head.exec(["scontrol", "--oneliner", "show", "job", number], check=False).stdout
        return dict(re.findall(r"(\w+)=(\S*)", shown))

    def until(self, number: str, *states: str, timeout: float = 90) -> dict[str, str]:
        """Wait until a job is in one of these states."""

        def look() -> dict[str, str]:
            found = self.job(number)
            return found if found.get("JobState") in states else {}

        return dict(self.awaited(look, timeout, f"job {number} {states}"))

    def awaited(self, look: Callable[[], Any], timeout: float, state: str) -> Any:
        """Wait until something is so; what Slurm and cidd have written is shown where it is not."""
        try:
            return until(look, timeout, state)
        except AssertionError:
            print(self.head.exec(["scontrol", "show", "job"], check=False).stdout, self.log())
            raise

    def images(self, number: str) -> list[str]:
        """Wait for the end of a job; return the images that it ran on."""
        ran_on = self.until(number, "COMPLETED")["BatchHost"]
        host = next(host for host in self.nodes if host.name == ran_on)
        # By then the next job may have it boot anew.
        return (host.root / f"var/tmp/{number}.out").read_text().split()

    def log(self) -> str:
        """Return what Slurm and cidd have written."""
        controller = self.head.exec(["tail", "-n", "40", "/var/log/slurm/slurmctld.log"], check=False).stdout
        told = [line for line in self.cidd.log().splitlines() if " GET /v1/" not in line][-40:]
        shown = [self.head.exec(argv, check=False).stdout for argv in (["sinfo", "-Nl"], ["ps", "-ef"])]
        return "\n".join((controller, *told, *shown))

    def free(self) -> None:
        """Wait until all nodes take jobs, and cidd has none for a job."""
        self.awaited(lambda: {node.job for node in self.cidd.client.nodes()} == {""}, 60, "nodes that are free")
        argv = ["sinfo", "--noheader", "--Node", "--format=%T"]
        self.awaited(lambda: set(self.head.exec(argv, check=False).stdout.split()) == {"idle"}, 60, "idle nodes")


def configured(host: Host, key: bytes, hosts: list[Host], role: str) -> None:
    """Give a host that is off Slurm's configuration as the examples have it; ``role`` is the daemon that it runs."""
    names = "".join(f"{other.address} {name}\n" for other, name in zip(hosts, ("login", "n1", "n2"), strict=True))
    files: dict[str, tuple[str | bytes, int]] = {
        f"etc/slurm/{path.name}": (path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)
        for path in sorted(EXAMPLES.iterdir())
    }
    # The lab's hosts have control groups of both versions, of which this slurmd knows one, and do not tell when they
    # booted: by -b slurmd says that it was when it began.
    files |= {"etc/default/slurmd": ("SLURMD_OPTIONS=-b\n", 0o644), "etc/slurm/cgroup.conf": (CGROUPS, 0o644)}
    write(host, {**files, "etc/munge/munge.key": (key, 0o400)})
    (host.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{names}")
    other = {"slurmctld": "slurmd", "slurmd": "slurmctld"}[role]
    # As `systemctl mask` does on a host that is off.
    (host.root / f"etc/systemd/system/{other}.service").symlink_to("/dev/null")


def owned(host: Host) -> None:
    """Give Slurm and munge what is theirs, which only the host itself knows by name."""
    host.exec(["mkdir", "-p", "/var/lib/slurm/slurmctld", "/var/lib/slurm/slurmd", "/var/log/slurm"])
    host.exec(["chown", "-R", "slurm:", "/var/lib/slurm", "/var/log/slurm"])
    host.exec(["chown", "munge:", "/etc/munge/munge.key"])


@pytest.fixture(scope="module")
def slurm(lab: Lab, make_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Boot Slurm's host, and have two nodes in an image, where they run slurmd."""
    hosts = [make_host(name, "bookworm", PACKAGES, users=()) for name in ("login", "n1", "n2")]
    head, *nodes = hosts
    key = os.urandom(1024)
    for host in hosts:
        configured(host, key, hosts, "slurmctld" if host is head else "slurmd")
    for host in nodes:
        furnish(host, {"etc/cncp/cidkid.d/drain": (DRAIN, 0o755)})
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
        patch.setenv("PYTHONPATH", str(ROOT / "bootstrap"))
        list(threads.map(Host.boot, hosts))
        list(threads.map(owned, hosts))
        list(threads.map(Host.power_off, nodes))
        cidd = Cidd(tmp_path_factory.mktemp("cidd"), lab.address)
        patch.setattr(HostNode, "hosts", dict(enumerate(nodes, 1)))
        patch.setattr(HostNode, "images", ())
        try:
            head.exec(["mkdir", "-p", "/opt/cncp"])
            head.exec(["tar", "-x", "-C", "/opt/cncp", "--strip-components=1", "bootstrap/cncp"], input=checkout())
            head.write("/usr/local/bin/cidcapt", COMMAND, mode=0o755)
            head.write("/etc/cncp/cidcapt.json", cidd.place.access.read_text(), "slurm", 0o600)
            head.exec(["systemctl", "restart", "munge", "slurmctld"])
            cidd.switch_on(2, kind=HostNode)
            done = cidd.cidcapt("first", "n[1-2]", OLD)
            assert done.returncode == 0, done.stderr
            cidd.client.cancel("first")
            found = Slurm(head, nodes, cidd)
            found.free()
            yield found
        finally:
            cidd.end()


def test_jobs_run_on_their_images(slurm: Slurm) -> None:
    """Two at once on disjoint nodes, each in its own; one on both in another; one that asks for none where it is."""
    first = slurm.submit("-w", "n1", "--comment", f"image={NEW}")
    second = slurm.submit("-w", "n2", "--comment", f"image={OLD}")
    assert slurm.images(second) == [OLD]
    assert slurm.images(first) == [NEW]
    slurm.free()
    both = slurm.submit("--nodes=2", "--comment", f"colour=red image={OLD}", script="srun cat /etc/cncp/image")
    assert slurm.images(both) == [OLD, OLD]
    plain = slurm.submit("-w", "n1")
    assert slurm.images(plain) == [OLD]
    slurm.free()


def test_a_job_whose_node_fails(slurm: Slurm) -> None:
    """It waits for another try, and runs once the node is mended; who has asked for no such image hears of it."""
    node = slurm.cidd.nodes[1]
    node.disk.pop(NEW, None)
    node.broken = "unpack"
    number = slurm.submit("-w", "n2", "--comment", f"image={NEW}")
    slurm.awaited(lambda: slurm.job(number).get("Restarts") == "1", 60, "another try")
    slurm.until(number, "PENDING")
    assert "its disk is too small" in slurm.cidd.log()
    node.broken = ""
    slurm.head.exec(["scontrol", "update", f"jobid={number}", "starttime=now"])
    assert slurm.images(number) == [NEW]
    assert f"job {number}~1 wants {NEW}" in slurm.cidd.log()
    slurm.free()


@pytest.mark.slow(held="tests/netboot/test_loopback.py")
def test_a_job_after_another_on_one_image(slurm: Slurm) -> None:
    """Its node boots before it begins where the image stays packed; that of a job that is requeued does not."""
    node, image = slurm.cidd.nodes[0], ("-w", "n1", "--comment", f"image={PACKED}")
    for _ in range(2):
        assert slurm.images(slurm.submit(*image)) == [PACKED]
        slurm.free()
    assert node.booted[-2:] == [PACKED, PACKED]
    number = slurm.submit(*image, script="sleep 300")
    slurm.until(number, "RUNNING")
    before = list(node.booted)
    slurm.head.exec(["scontrol", "requeue", number])
    slurm.until(number, "PENDING")
    slurm.awaited(lambda: slurm.cidd.client.nodes()[0].job == "", 60, "a node that is let go")
    # slurmd takes no credential of a second in which it has revoked another of the job.
    slurm.head.exec(["scontrol", "update", f"jobid={number}", "starttime=now+2"])
    slurm.until(number, "RUNNING")
    assert f"job {number}~1 wants {PACKED}" in slurm.cidd.log()
    assert node.booted == before
    slurm.head.exec(["scancel", number])
    slurm.free()
    assert slurm.images(slurm.submit("-w", "n1", "--comment", f"image={OLD}")) == [OLD], "as another test needs it"
    slurm.free()


@pytest.mark.slow(held="tests/netboot/test_loopback.py")
def test_a_job_that_is_cancelled_meanwhile(slurm: Slurm) -> None:
    """Its node stays where it is, takes work again, and is the next job's."""
    host = slurm.nodes[0]
    before = host.read("/etc/cncp/image")
    host.exec(["touch", "/run/busy"])
    wanted = NEW if OLD in before else OLD
    number = slurm.submit("-w", "n1", "--comment", f"image={wanted}")
    slurm.awaited(lambda: slurm.cidd.states()["n1"] == "draining", 30, "a node that drains")
    slurm.head.exec(["scancel", number])
    began = time.monotonic()
    slurm.awaited(lambda: slurm.cidd.states()["n1"] == "alive", 60, "a node that stays")
    print(f"let go {time.monotonic() - began:.1f} s after scancel")
    host.exec(["rm", "/run/busy"])
    slurm.free()
    assert slurm.images(slurm.submit("-w", "n1")) == before.split()


@pytest.mark.slow(held="tests/lab/test_slurm_netboot.py")
def test_images_as_features(slurm: Slurm) -> None:
    """The other way: Slurm itself has nodes reboot that have not the feature that a job wants."""
    for host in (slurm.head, *slurm.nodes):
        conf = host.read("/etc/slurm/slurm.conf")
        host.write("/etc/slurm/slurm.conf", conf.replace("# Include", "Include"))
    slurm.head.exec(["systemctl", "restart", "slurmctld"])
    for host in slurm.nodes:
        host.exec(["systemctl", "restart", "slurmd"])
    slurm.free()
    here = slurm.nodes[0].read("/etc/cncp/image").strip()
    wanted = NEW if here == OLD else OLD
    number = slurm.submit("-w", "n1", "--constraint", wanted.replace("-", "_"))
    assert slurm.images(number) == [wanted]
    slurm.free()
