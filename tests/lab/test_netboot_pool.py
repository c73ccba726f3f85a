"""Netbooted nodes as a pool: the real cidd, and a node whose image is a host with real cidkid and engines.

Only what is between two images is played: the network's boot and GRUB. The other image is a thread.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cncp.netboot import engine_host
from cncp.netboot.messages import Wish

from ..netboot.loopback_site import NEW, OLD
from ..netboot.loopback_site import Site as Cidd
from .fleets import ASK, await_engines
from .host import Host
from .netboot_nodes import HostNode, furnish
from .nspawn import Lab
from .site import ROOT, Site, until
from .sites import MakeSite

CLUSTER = """
listen = "all"
[[pool]]
provider = "netboot"
nodes = ["n[1-{count}]"]
image = "{image}"
access = "cidcapt.json"
engines = 2
"""

TASKS = """
import json, sys, time
from pathlib import Path
import ipyparallel
begun, over = map(Path, sys.argv[1:])
def slow(number):
    import time
    time.sleep(0.4)
    return number
client = ipyparallel.Client(profile="cncp", timeout=20)
view, sent, number = client.load_balanced_view(), [], 0
while not over.exists():
    sent += [view.apply_async(slow, number + each) for each in range(2)]
    number += 2
    begun.touch()
    time.sleep(0.3)
print(json.dumps([len(sent), sorted(answer.get(timeout=120) for answer in sent) == list(range(number))]))
"""
"""Sends tasks all the time, without retries; says whether every one of them came to its end."""


class Scene:
    """The controller's machine, cidd, and the node."""

    def __init__(self, gold: Site, cidd: Cidd, host: Host) -> None:
        self.gold, self.cidd, self.host = gold, cidd, host

    def write(self, count: int = 1, image: str = OLD) -> None:
        """Say which nodes are to be in which image."""
        self.gold.host.write(f"{self.gold.home}/cluster.toml", CLUSTER.format(count=count, image=image), "bob")

    def cncp(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb; where it fails, say what cidd and the node have written."""
        done = self.gold.cncp(*words, check=False)
        assert not check or not done.returncode, (done.stdout, done.stderr, self.cidd.log()[-3000:], self.journal())
        return done

    def journal(self) -> str:
        """Return what the node's image has written last."""
        return self.host.journal("-n", "60") if self.host.running else self.host.machine.tail()

    def engines(self) -> list[str]:
        """Return the hosts that engines compute on."""
        done = self.gold.python(ASK, "cncp", check=False)
        return sorted(json.loads(done.stdout)) if not done.returncode else []

    def members(self) -> dict[str, tuple[str, str]]:
        """Return state and cause of each member, as they are shown."""
        shown = json.loads(self.gold.cncp("status", "--json", check=False).stdout)
        return {row["host"]: (row["state"], row["last_exit"]) for row in shown if row["name"] == "member"}


@pytest.fixture(scope="module")
def scene(
    lab: Lab, make_host: Callable[..., Host], make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Boot the controller's machine with a cluster; the node is off, as it has no image."""
    host = make_host("gold", "bookworm", ("cron", "python3-venv"), users=("bob",))
    host.boot()
    gold = make_site(host, "bob")
    gold.baremetal("--engines=0", "--listen=all", "--tolerance=10")
    gold.cncp("bundle.make", "--engines-only", "--output", f"{gold.home}/cncp.tar")
    image = make_host("image", "bookworm", ("python3-venv",), users=())
    bundle = (host.root / "home/bob/cncp.tar").read_bytes()
    furnish(image, {**engine_host.files(), "var/lib/cncp-image/cncp.tar": (bundle, 0o644)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "bootstrap"))
        cidd = Cidd(tmp_path_factory.mktemp("cidd"), lab.address)
        host.write(f"{gold.home}/cidcapt.json", cidd.place.access.read_text(), "bob", 0o600)
        patch.setattr(HostNode, "hosts", {1: image})
        patch.setattr(HostNode, "images", (OLD,))
        try:
            cidd.switch_on(1, kind=HostNode)
            yield Scene(gold, cidd, image)
        finally:
            cidd.end()


def test_from_up_to_engines_to_another_image_and_back(scene: Scene) -> None:
    """`up` ends when the node's engines answer; it drains before it leaves its image, and they are there again."""
    scene.write()
    planned = scene.cncp("plan", "--file", f"{scene.gold.home}/cluster.toml", check=False)
    assert f"put n1 into {OLD}" in planned.stdout, planned.stderr
    done = scene.cncp("up", "--file", f"{scene.gold.home}/cluster.toml")
    print(done.stdout, done.stderr)
    assert scene.engines() == ["n1", "n1"]
    begun, over = (f"{scene.gold.home}/{name}" for name in ("begun", "over"))
    with ThreadPoolExecutor(1) as threads:
        client = threads.submit(scene.gold.python, TASKS, begun, over)
        until(lambda: client.done() or (scene.gold.host.root / begun[1:]).exists(), 60, "tasks")
        node = scene.cidd.nodes[0]
        [job] = {known.job for known in scene.cidd.client.nodes()}
        try:
            scene.cidd.client.want(job, Wish(("n1",), NEW, 600, hold=True))
            until(lambda: node.booted[-1] == NEW, 60, f"another image: {scene.cidd.log()[-2000:]}")
        finally:
            scene.gold.host.exec(["touch", over])
        until(lambda: scene.members()["n1"][0] == "installing", 60, "a node without engines")
        scene.cncp("up")
        sent, whole = json.loads(client.result().stdout)
    assert (sent > 5, whole) == (True, True), "no task was lost"
    assert node.booted == [OLD, NEW, OLD]
    await_engines(scene.gold, ["n1", "n1"])
    assert scene.members()["n1"][0] == "joined"


def test_new_keys_reach_it(scene: Scene) -> None:
    """By the lease, in seconds."""
    scene.cncp("keys.rotate", "--quiet")
    await_engines(scene.gold, ["n1", "n1"])


def test_it_is_let_go(scene: Scene) -> None:
    """`scale` and `down` leave nothing of the cluster on the node, and cidd gives it to others; `up` has it again."""
    state = scene.host.root / "home/cncp/.local/share/cncp"
    assert (state / "member.json").exists()
    scene.cncp("scale", "0")
    assert scene.engines() == []
    until(lambda: not state.exists(), 60, "nothing left on the node")
    assert scene.cidd.cidcapt("7", "n1", OLD).returncode == 0
    scene.cidd.client.cancel("7")
    scene.cncp("scale", "1")
    scene.cncp("up")
    await_engines(scene.gold, ["n1", "n1"])
    scene.cncp("down")
    until(lambda: not state.exists(), 60, "nothing left on the node")
    assert [node.job for node in scene.cidd.client.nodes()] == [""]


def test_what_cannot_be(scene: Scene) -> None:
    """A node that nobody knows, an image that is not there, a node of somebody else's: refused, and nothing begun."""
    scene.write(count=2)
    assert "cidd knows no n2" in scene.cncp("up", check=False).stderr
    scene.write(image="compute-9-9")
    assert "there is no image compute-9-9" in scene.cncp("up", check=False).stderr
    scene.cidd.client.want("other", Wish(("n1",), OLD, 600, hold=True))
    scene.write()
    assert f"job other has n1 in {OLD}" in scene.cncp("up", check=False).stderr
    assert {node.job for node in scene.cidd.client.nodes()} == {"other"}
    scene.cidd.client.cancel("other")
