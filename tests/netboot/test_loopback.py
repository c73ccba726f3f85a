"""Many nodes on one machine: the real cidd, cidkid and cidcapt, over real sockets; only Blancmange is played."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cncp.netboot import cidcapt
from cncp.netboot.cidcapt import Access, CiddClient, RefusedError
from cncp.netboot.messages import Wish
from cncp.netboot.node_db import Event
from cncp.rendezvous.documents import Seed, new_key
from cncp.waiting import wait_until

from .fake_node import CutError, FakeNode
from .loopback_site import NEW, OLD, PACKED, PATIENCE, Site

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SEED = Seed("1" * 16, "2" * 16, "https://10.0.0.1:4000/join#sha256=" + "3" * 64, new_key(), 2_000_000_000)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A cidd without nodes."""
    code = Path(cidcapt.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(code))
    made = Site(tmp_path)
    try:
        yield made
    finally:
        made.end()


def most_at_once(events: Iterable[Event], state: str) -> int:
    """Return how many nodes were in a state at the same time."""
    there, most = set[str](), 0
    for event in events:
        there = there | {event.node} if event.state == state else there - {event.node}
        most = max(most, len(there))
    return most


def test_many_nodes(site: Site) -> None:
    """All come up in an image, two jobs take halves into another and back, and no more fetch at a time than may."""
    site.switch_on(64)
    done = site.cidcapt("1", "n[1-64]", OLD)
    assert done.returncode == 0, done.stderr + site.log()
    assert set(site.states().values()) == {"alive"}
    assert 1 < most_at_once(site.events(), "fetch") <= 16
    with ThreadPoolExecutor(2) as jobs:
        halves = jobs.map(site.cidcapt, ("2", "3"), ("n[1-32]", "n[33-64]"), (NEW, NEW))
    assert [half.returncode for half in halves] == [0, 0]
    done = site.cidcapt("4", "n1+n2", OLD)
    assert done.returncode == 0, done.stderr
    assert site.nodes[0].booted == [OLD, NEW, OLD]
    assert site.trace("n1")[-3:] == ["draining", "rebooting", "alive"], "the image was on its disk"
    text = site.client.ask("GET", "/metrics").decode()
    assert {'cidd_nodes{state="alive"} 64', "cidd_images 3", 'cidd_jobs{outcome="waiting"} 0'} <= set(text.splitlines())
    assert 'cidd_node_state_entries_total{state="blancmange"} 128' in text


def test_cidd_is_killed_in_each_state(site: Site) -> None:
    """It is begun anew by what keeps it, and the job's command, still waiting, ends as it should."""
    killed: list[str] = []
    turn = threading.Event()

    def at(_: FakeNode, state: str) -> None:
        if state not in killed:
            killed.append(state)
            site.cidd.kill()
            site.cidd.wait()
            site.begin()
            turn.set()

    site.switch_on(3, at)
    done = site.cidcapt("1", "n[1-3]", OLD)
    assert done.returncode == 0, done.stderr + site.log()
    assert killed == ["blancmange", "partition", "queued", "verify", "unpack", "boot", "alive"]
    assert set(site.states().values()) == {"alive"}


@pytest.mark.parametrize("state", ["partition", "verify", "unpack"])
def test_the_power_is_cut(site: Site, state: str) -> None:
    """A node that boots again, with a new key, goes through it from the beginning."""
    cuts = [1]

    def at(_: FakeNode, reached: str) -> None:
        if reached == state and cuts:
            cuts.pop()
            raise CutError

    site.switch_on(1, at)
    with subprocess.Popen(site.argv("1", "n1", OLD), stderr=subprocess.PIPE, text=True) as command:
        assert wait_until(lambda: not cuts, 30)
        # Nobody need wait until cidd has lost its patience with it: a person says that it is to begin anew.
        site.client.ask("POST", "/v1/nodes/n1/again")
        assert command.wait(PATIENCE) == 0, site.log()
    assert site.trace("n1").count("blancmange") == 2


def test_what_works_is_waited_for(site: Site) -> None:
    """The node leaves its image when its work has ended; the job waits as long."""
    site.switch_on(1)
    assert site.cidcapt("1", "n1", OLD).returncode == 0
    site.nodes[0].works.clear()
    with subprocess.Popen(site.argv("2", "n1", NEW), stderr=subprocess.PIPE, text=True) as command:
        assert wait_until(lambda: site.states()["n1"] == "draining", 30)
        assert command.poll() is None
        site.nodes[0].works.set()
        assert command.wait(PATIENCE) == 0


def test_a_job_after_another_on_one_image(site: Site) -> None:
    """It finds nothing of the first's where the image stays packed: its nodes boot. The first's next try does not."""
    site.switch_on(2)
    assert site.cidcapt("1", "n[1-2]", PACKED).returncode == 0
    assert site.cidcapt("1", "n[1-2]", PACKED, "--release").returncode == 0
    done = site.cidcapt("1", "n[1-2]", PACKED, "--restart=1")
    assert (done.returncode, [node.booted for node in site.nodes]) == (0, [[PACKED]] * 2), done.stderr
    done = site.cidcapt("2", "n1", PACKED)
    assert done.returncode == 0, done.stderr + site.log()
    assert "n1 rebooting: begins anew after job 1~1" in done.stderr
    assert [node.booted for node in site.nodes] == [[PACKED, PACKED], [PACKED]]
    assert site.trace("n1")[-3:] == ["draining", "rebooting", "alive"], "by its disk"
    for job in ("3", "4"):
        assert site.cidcapt(job, "n2", OLD).returncode == 0
    assert site.nodes[1].booted == [PACKED, OLD], "what is unpacked stays as it is"


def test_a_node_whose_clock_has_fallen_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told what it has said before, and goes on above that."""
    site.switch_on(1)
    for job, image in (("1", OLD), ("2", NEW)):
        assert site.cidcapt(job, "n1", image).returncode == 0
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    done = site.cidcapt("3", "n1", OLD)
    assert done.returncode == 0, done.stderr + site.log()
    assert "403" in site.log()


def test_engines_are_told_what_they_join_by(site: Site) -> None:
    """Of a pool's nodes alone, in its image, and to leave; a document that is none of ours changes nothing."""
    site.switch_on(2)
    site.client.want("pool", Wish(("n1",), OLD, 600, hold=True))
    assert site.cidcapt("1", "n2", OLD).returncode == 0
    assert wait_until(lambda: site.states()["n1"] == "alive", 30)
    refused = site.cidcapt("2", "n[1-2]", NEW)
    assert (refused.returncode, "job pool has n1" in refused.stderr) == (cidcapt.USAGE, True), refused.stderr
    for document in ("", "{}", {**json.loads(SEED.to_json()), "key": "x"}):
        with pytest.raises(RefusedError, match="damaged") as caught:
            site.client.ask("PUT", "/v1/jobs/pool/rendezvous", document)
        assert caught.value.final
    site.client.meet("pool", SEED)
    node = site.nodes[0]
    assert wait_until(lambda: node.joined[-1:] == [SEED.to_json()], 30), node.joined
    site.cidd.kill()
    site.cidd.wait()
    site.begin()
    site.client.want("pool", Wish(("n1",), NEW, 600, hold=True))
    assert wait_until(lambda: node.booted[-1] == NEW and node.joined[-1] == SEED.to_json(), 30), node.joined
    site.client.cancel("pool")
    assert wait_until(lambda: node.joined[-1] == "", 30)
    assert set(site.nodes[1].joined) == {""}
    with pytest.raises(RefusedError, match="no job pool"):
        site.client.meet("pool", SEED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_job_that_is_cancelled(site: Site, number: signal.Signals) -> None:
    """The command ends, told once or twice, and its nodes are another job's; also where Slurm has signals blocked."""
    site.switch_on(1)
    assert site.cidcapt("1", "n1", OLD).returncode == 0
    site.nodes[0].works.clear()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    command = subprocess.Popen(site.argv("2", "n1", NEW), stderr=subprocess.PIPE, text=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with command:
        assert wait_until(lambda: site.states()["n1"] == "draining", 30)
        command.send_signal(number)
        command.send_signal(number)
        assert command.wait(30) == cidcapt.CANCELLED
    assert site.states()["n1"] == "alive"
    site.nodes[0].works.set()
    assert wait_until(lambda: site.nodes[0].asked == ["resume", "drain", "resume"], 30), "it takes work again"
    assert site.cidcapt("3", "n1", OLD).returncode == 0


def test_a_job_that_is_cancelled_without_cidd(site: Site) -> None:
    """The command ends, and says that cidd does not know."""
    site.switch_on(1)
    site.stop.set()
    with subprocess.Popen(site.argv("1", "n1", OLD), stderr=subprocess.PIPE, text=True) as command:
        assert wait_until(lambda: site.states()["n1"] == "rebooting", 30)
        site.cidd.terminate()
        site.cidd.wait(30)
        command.terminate()
        assert command.wait(30) == cidcapt.UNREACHABLE
        assert command.stderr is not None
        assert "does not answer" in command.stderr.read()
    site.begin()


def test_time_is_over(site: Site) -> None:
    """The command says who is not there, and how that is looked into."""
    site.switch_on(2)
    site.stop.set()
    done = site.cidcapt("1", "n[1-2]", OLD, "--timeout=1")
    assert done.returncode == cidcapt.LATE
    assert "error: not there in time: n[1-2]" in done.stderr


@pytest.mark.parametrize(
    ("job", "nodes", "image", "said"),
    [
        ("1", "n9", OLD, "there is no node n9"),
        ("1", "n1", "compute-9-9", "there is no image compute-9-9"),
        ("1", "n1", "compute", "no name of an image"),
        ("1", "", OLD, "no node is named"),
        ("1", "n[9-1]", OLD, "counts down"),
        ("1", "n[1-999999]", OLD, "more than 1024"),
        ("1", "n[1", OLD, "no host"),
        ("1", "n1;reboot", OLD, "no host"),
        ("a b", "n1", OLD, "no job"),
        ("7~1", "n1", OLD, "no job"),
        ("x" * 90, "n1", OLD, "no job"),
    ],
)
def test_what_is_refused(site: Site, job: str, nodes: str, image: str, said: str) -> None:
    """It says what is wrong, ends with 2, and has begun nothing."""
    site.switch_on(1)
    before = site.states()
    done = site.cidcapt(job, nodes, image)
    assert (done.returncode, said in done.stderr) == (cidcapt.USAGE, True), done.stderr
    assert done.stderr.startswith("error: ")
    assert site.states() == before


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/nodes/n1?name=a%20b", None),
        ("PUT", "/v1/jobs/a%20b", None),
        ("PUT", "/v1/jobs/1", {"nodes": ["n1"]}),
        ("PUT", "/v1/jobs/1", {"nodes": ["n 1"], "image": OLD, "timeout": 5}),
        ("PUT", "/v1/jobs/1", {"nodes": "n1", "image": OLD, "timeout": 5}),
        ("PUT", "/v1/jobs/1", {"nodes": ["n1"], "image": OLD, "timeout": 0}),
        ("GET", "/v1/jobs/1?wait=x", None),
        ("GET", "/v1/nodes/n9/trace", None),
    ],
)
def test_what_makes_no_sense_is_the_askers_mistake(site: Site, method: str, target: str, body: object) -> None:
    """It is refused, and cidd begins anew with what it had."""
    site.switch_on(1)
    with pytest.raises(RefusedError) as caught:
        site.client.ask(method, target, body)
    assert caught.value.final
    site.cidd.terminate()
    assert site.cidd.wait(30) == 0
    site.begin()
    assert site.states().keys() == {"n1"}


def test_who_has_no_business_here(site: Site) -> None:
    """Without the token nothing is answered; another server than cidd is told nothing; nobody else reads the keys."""
    access = json.loads(site.place.access.read_bytes())
    stranger = CiddClient(Access(access["url"], access["fingerprint"], "0" * 64))
    for method, target in (("GET", "/v1/nodes"), ("PUT", "/v1/jobs/1"), ("DELETE", "/v1/jobs/1"), ("GET", "/metrics")):
        with pytest.raises(RefusedError, match="token"):
            stranger.ask(method, target)
    impostor = CiddClient(Access(access["url"], "0" * 64, access["token"]))
    with pytest.raises(RefusedError, match="another certificate"):
        impostor.ask("GET", "/v1/nodes")
    plain = f"http://127.0.0.1:{site.ports[1]}"
    for target in ("/v1/nodes", "/v1/jobs/1", "/v1/blobs/../token", "/v1/blancmange/../token", "/token", "/v1/images"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(plain + target, timeout=20)
    for name in ("token", "signing.key", "nodes.db", "server.pem", "cidcapt.json"):
        assert (site.place.folder / name).stat().st_mode & 0o077 == 0, name


def test_blobs_arrive_whole_or_go_on(site: Site) -> None:
    """A part that was cut is continued, and nobody needs a key for what a manifest vouches for."""
    content = os.urandom(3 << 20)
    path = site.place.folder / "large"
    path.write_bytes(content)
    with path.open("rb") as source:
        blob = site.place.images().add_blob("root", source)
    address = f"http://127.0.0.1:{site.ports[1]}/v1/blobs/{blob.sha256}"
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert answer.read() == content
    rest = urllib.request.Request(address, headers={"Range": "bytes=1000000-"})
    with urllib.request.urlopen(rest, timeout=20) as answer:
        assert answer.status == 206
        assert answer.read() == content[1000000:]
    beyond = urllib.request.Request(address, headers={"Range": f"bytes={len(content)}-"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(beyond, timeout=20)
    assert (caught.value.code, caught.value.headers["Content-Range"]) == (416, f"bytes */{len(content)}")


@pytest.mark.parametrize(
    "text", ["n1+n2+n3", "n1,n2,n3", "n1:n2:n3", "n1 n2  n3\n", "n[1-3]", "n[1-2],n3", "n1+n1+n2+n2+n3", "n[1,2-3]"]
)
def test_lists_as_schedulers_write_them(text: str) -> None:
    """Whatever stands between names, and however often one stands there."""
    assert cidcapt.node_names(text) == ("n1", "n2", "n3")


@pytest.mark.parametrize("hosts", ["n1+n2", "n1:n2", "n1,n2", "n[1-2]", "n1 n2", "n1 n1 n2 n2", "n1+n1+n2+n2\n"])
def test_moabs_line(site: Site, hosts: str) -> None:
    """As the example has it, with what Moab fills in, whatever form that has."""
    line = (EXAMPLES / "moab/moab.cfg").read_text().splitlines()[-1]
    found = re.fullmatch(r"CLASSCFG\[linux\] JOBPROLOG='/usr/local/bin/cidcapt (.*)'", line)
    assert found is not None
    words = found[1].replace("$JOBID", "moab.4711").replace("$HOSTLIST", hosts).replace("linux-1-0", OLD).split()
    site.switch_on(2)
    command = [sys.executable, "-m", "cncp.netboot.cidcapt", *words, f"--access={site.place.access}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert set(site.states().values()) == {"alive"}
    release = [*command[:5], "--release", command[-1]]
    subprocess.run(release, check=True, timeout=PATIENCE)
    assert {node.job for node in site.client.nodes()} == {""}


def test_a_job_that_is_given_up(site: Site) -> None:
    """What is under way for it is the next one's, at once; to let nodes go twice is no mistake."""
    site.switch_on(2)
    site.nodes[0].broken = "unpack"
    assert site.cidcapt("1", "n[1-2]", OLD).returncode == cidcapt.FAILED
    assert {node.job for node in site.client.nodes()} == {""}
    site.nodes[0].broken = ""
    assert site.cidcapt("1", "n[1-2]", OLD, "--restart=1").returncode == 0
    for _ in range(2):
        assert site.cidcapt("1", "n1", OLD, "--restart=1", "--release").returncode == 0
    site.cidd.terminate()
    site.cidd.wait(30)
    assert site.cidcapt("1", "n1", OLD, "--release").returncode == cidcapt.UNREACHABLE
    site.begin()


def test_there_is_no_cidd(site: Site) -> None:
    """The command says so, and that it is not the job's fault: its exit code is one of its own."""
    site.cidd.terminate()
    site.cidd.wait(30)
    done = site.cidcapt("1", "n1", OLD)
    site.begin()
    assert done.returncode == cidcapt.UNREACHABLE
    assert "does not answer" in done.stderr
