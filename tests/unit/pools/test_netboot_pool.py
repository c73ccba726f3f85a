"""A pool of netbooted nodes, with all that cidd decides, and a gate to the cluster that is played."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from cncp.config import sources
from cncp.errors import CncpError, UsageError
from cncp.netboot.cidcapt import Access
from cncp.netboot.messages import CaptureState, Wish
from cncp.netboot.node_states import LIFE, Node
from cncp.netboot.node_states import State as NodeState
from cncp.pools import counts
from cncp.pools.base import Rendezvous, State
from cncp.pools.cloud.registered import Work
from cncp.pools.netboot import netboot_pool, netboot_table
from cncp.pools.netboot.netboot_pool import NetbootPool
from cncp.pools.providers import pools
from cncp.serve.errands import HALF_A_SEED
from tests.unit.netboot.test_provisioner import NEW, OLD, Scene

FILE = '[[pool]]\nprovider = "netboot"\nnodes = ["n[1-3]"]\nimage = "compute-1-0"\nengines = 2\n'


class Cidd:
    """The client of a cidd that is in this process."""

    def __init__(self, scene: Scene) -> None:
        self._cidd = scene.cidd
        self._db = scene.db

    def want(self, job: str, wish: Wish) -> CaptureState:
        """Have nodes be put into an image."""
        return self._cidd.capture(job, wish)

    def cancel(self, job: str) -> None:
        """Let nodes go."""
        self._cidd.release(job)

    def meet(self, job: str, seed: str) -> None:
        """Keep a seed."""
        self._cidd.meet(job, seed)

    def nodes(self) -> list[Node]:
        """Return all nodes."""
        return self._cidd.nodes()

    def images(self) -> list[str]:
        """Return all images."""
        return [NEW, OLD]


class Gate:
    """The way to a cluster: engines that are registered, and what was asked."""

    def __init__(self) -> None:
        self.engines: dict[str, list[tuple[int, str]]] = {}
        self.asked: list[object] = []

    def work(self) -> Work:
        """Return which engines there are."""
        return Work(self.engines)

    def begin(self, _: object) -> None:
        """Have a rendezvous."""

    def invite(self, batch: str, settings: Any, *given: object) -> str:
        """Return a seed."""
        self.asked.append(("invite", settings["engines"], *given))
        return f"seed of {batch}"

    def withdraw(self, batch: str) -> None:
        """Take a seed back."""
        self.asked.append(f"withdraw {batch}")

    def drain(self, names: Collection[str], *, hold: bool) -> list[str]:
        """Have engines get no tasks; one computes."""
        self.asked.append(("drain", sorted(names), hold))
        return [name for name in names if name == "n2"]

    def unregister(self, names: Collection[str]) -> None:
        """Have them forgotten."""
        self.asked.append(("unregister", sorted(names)))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Return a cidd with three nodes that are accepted, and a pool that asks it."""
    (tmp_path / "cidd").mkdir()
    made = Scene(tmp_path / "cidd" / "nodes.db")
    made.now = time.time()
    for number in (1, 2, 3):
        made.accepted(number)
    monkeypatch.setattr(netboot_table, "client", lambda *_: Cidd(made))
    yield made
    made.db.close()


def read(folder: Path, text: str = FILE) -> NetbootPool:
    """Return the pool of a file, with a gate of ours."""
    path = folder / "cluster.toml"
    path.write_text(text)
    (pool,) = pools(sources.read(path)[1], folder / "home")
    assert isinstance(pool, NetbootPool)
    pool.gate = Gate()  # type: ignore[assignment]  # what it is asked for is there
    return pool


def joined(pool: NetbootPool, *names: str) -> None:
    """Have engines be registered of these nodes."""
    pool.gate.engines = {name: [(0, f"{name}_0_x"), (1, f"{name}_1_x")] for name in names}  # type: ignore[attr-defined]


def seen(pool: NetbootPool) -> dict[str, tuple[State, str]]:
    """Return state and cause of each member."""
    return {member.name: (member.state, member.cause) for member in pool.observe()}


def test_from_nothing_to_engines(scene: Scene, tmp_path: Path) -> None:
    """Each node is shown where it is; `up` again changes nothing."""
    pool = read(tmp_path)
    pool.check()
    assert pool.plan() == ["put n[1-3] into compute-1-0"]
    assert pool.observe() == []
    assert pool.hosts() == pool.acquire(print) == ()
    assert {state for state, _ in seen(pool).values()} == {State.BOOTING}
    pool.publish(Rendezvous("cncp", {}, (), {"engines": 2}), print)
    assert scene.db.rendezvous(pool.job).startswith("seed of ")
    scene.installs(1, OLD)
    assert seen(pool)["n1"] == (State.INSTALLING, "compute-1-0 runs, its engines are to join")
    joined(pool, "n1")
    assert seen(pool)["n1"] == (State.JOINED, "")
    assert [member.engines for member in pool.observe()] == [2, 0, 0]
    before = scene.cidd.nodes()
    assert pool.plan() == []
    pool.acquire(print)
    assert scene.cidd.nodes() == before
    assert pool.patience == 3600


ON_THE_WAY: dict[State, tuple[NodeState, ...]] = {
    State.REQUESTED: ("unknown", "ready", "draining"),
    State.BOOTING: ("rebooting", "blancmange", "partition", "boot"),
    State.FETCHING: ("queued", "fetch", "verify"),
    State.INSTALLING: ("unpack",),
}


def test_every_state_is_shown() -> None:
    """A node may be in any that cidd has: those of its way, and the two that are told by what runs."""
    told = [state for states in ON_THE_WAY.values() for state in states]
    assert sorted([*told, "alive", "failed"]) == sorted(LIFE)


@pytest.mark.parametrize(
    ("state", "shown"), [(state, shown) for shown, states in ON_THE_WAY.items() for state in states]
)
def test_where_a_node_is(scene: Scene, tmp_path: Path, state: NodeState, shown: State) -> None:
    """In the words of all pools, with cidd's own as the cause."""
    pool = read(tmp_path)
    node = Node("n1", *scene.hardware(1), state, wanted=OLD, job=pool.job, percent=42, tries=1, reason="no word")
    with scene.db.transaction():
        scene.db.save(node, None)
    found, cause = seen(pool)["n1"]
    assert found is shown
    percent = " 42 %" if state == "fetch" else ""
    assert cause == f"{state}{percent}, for compute-1-0, try 2: no word"


@pytest.mark.parametrize(
    ("members", "shown", "cause"),
    [
        ({"state": "failed", "reason": "its disk is too small"}, State.FAILED, "its disk is too small; look at"),
        ({"state": "alive", "image": OLD, "since": 1.0}, State.FAILED, "journalctl -u cncp-engines"),
        ({"state": "alive", "image": OLD, "reason": "no controller"}, State.FAILED, "no controller"),
        ({"state": "alive", "image": NEW}, State.LOST, "compute-1-1 runs, and not compute-1-0"),
    ],
)
def test_what_is_wrong_with_a_node(
    scene: Scene, tmp_path: Path, members: dict[str, Any], shown: State, cause: str
) -> None:
    """Is told with what to look at."""
    pool = read(tmp_path)
    node = Node("n1", *scene.hardware(1), wanted=OLD, job=pool.job, **members)
    with scene.db.transaction():
        scene.db.save(node, None)
    found, said = seen(pool)["n1"]
    assert found is shown
    assert cause in said
    assert seen(pool)["n2"] == (State.LOST, "it is not this pool's at cidd: cncp up")


def test_fewer_and_none(scene: Scene, tmp_path: Path) -> None:
    """The last of the file's go first, drained; the others stay as they are.

    What was kept counts until the file changes.
    """
    pool = read(tmp_path)
    pool.acquire(print)
    for number in (1, 2, 3):
        scene.installs(number, OLD)
    pool.scale(1)
    assert (pool.count, pool.surplus()) == (1, ["n3", "n2"])
    assert pool.drain(pool.surplus()) == ["n2"]
    assert pool.plan() == ["let n[2-3] go"]
    pool.release(pool.surplus(), print)
    assert [node.job for node in scene.cidd.nodes()] == [pool.job, "", ""]
    assert set(seen(pool)) == {"n1"}
    counts.keep(pool)
    again = read(tmp_path)
    assert again.count == 1
    assert again.job == pool.job
    assert read(tmp_path, FILE.replace("1-3", "1-2")).count == 2
    again.scale(3)
    again.acquire(print)
    assert [node.job for node in scene.cidd.nodes()] == [pool.job] * 3
    again.discard(print)
    assert again.gate.asked[-1] == ("unregister", ["n1", "n2", "n3"])  # type: ignore[attr-defined]
    assert f"withdraw {again._batch}" in again.gate.asked  # type: ignore[attr-defined]
    assert {node.job for node in scene.cidd.nodes()} == {""}
    assert {node.state for node in scene.cidd.nodes()} == {"alive"}
    for count in (-1, 4):
        with pytest.raises(UsageError, match="are not possible"):
            again.scale(count)


def test_none_at_all(scene: Scene, tmp_path: Path) -> None:
    """A pool that is to have no node asks for none, and lets those go that it had."""
    pool = read(tmp_path)
    pool.acquire(print)
    pool.scale(0)
    pool.acquire(print)
    pool.publish(Rendezvous("cncp", {}, (), {}), print)
    assert {node.job for node in scene.cidd.nodes()} == {""}
    assert not pool.gate.asked  # type: ignore[attr-defined]
    assert pool.drain([]) == []


def test_a_seed_is_made_anew(scene: Scene, tmp_path: Path) -> None:
    """Once half of its time is over, with the settings that it had; there is none of a pool without nodes."""
    pool = read(tmp_path)
    pool.acquire(print)
    assert not pool.renew()
    pool.publish(Rendezvous("cncp", {}, (), {"engines": 2}), print)
    assert not pool.renew()
    kept = netboot_pool.seed_store(pool.name).path(pool.home)
    old = time.time() - HALF_A_SEED - 5
    os.utime(kept, (old, old))
    assert pool.renew()
    assert not pool.renew()
    assert pool.gate.asked == [("invite", 2, 2 * HALF_A_SEED, "netbooted nodes")] * 2  # type: ignore[attr-defined]
    os.utime(kept, (old, old))
    pool.discard(print)
    assert not kept.exists()
    assert not pool.renew()


def test_two_pools(scene: Scene, tmp_path: Path) -> None:
    """Each has nodes of its own; those of another are refused, with their names, and nothing has begun."""
    text = FILE.replace("1-3", "1-2") + FILE.replace("1-3", "2-3")
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    first, second = pools(sources.read(path)[1], tmp_path / "home")
    first.acquire(print)
    with pytest.raises(UsageError, match=r"netboot\.\w+ has n2 in compute-1-0"):
        second.acquire(print)
    assert scene.node(3).job == ""


BAD = {
    "no node": ('nodes = ["n[1-3]"]', "nodes = []", "a list of nodes"),
    "a word": ('nodes = ["n[1-3]"]', 'nodes = "n1"', "a list of nodes"),
    "a number": ('nodes = ["n[1-3]"]', "nodes = [1]", "a list of nodes"),
    "twice": ('nodes = ["n[1-3]"]', 'nodes = ["n[1-3]", "n2"]', "n2 stands there twice"),
    "too many": ('nodes = ["n[1-3]"]', 'nodes = ["n[1-9999]"]', "more than 1024"),
    "many lists": ('nodes = ["n[1-3]"]', 'nodes = ["n[1-1000]", "m[1-1000]"]', "2000 are not"),
    "half a range": ('nodes = ["n[1-3]"]', 'nodes = ["n[1-"]', "nodes must be"),
    "backwards": ('nodes = ["n[1-3]"]', 'nodes = ["n[3-1]"]', "counts down"),
    "with a user": ('nodes = ["n[1-3]"]', 'nodes = ["ada@n1"]', "no name of a node"),
    "with a port": ('nodes = ["n[1-3]"]', 'nodes = ["n1:22"]', "no name of a node"),
    "an underscore": ('nodes = ["n[1-3]"]', 'nodes = ["n_1"]', "no name of a node"),
    "no image": ('image = "compute-1-0"\n', "", "add image"),
    "an image without a version": ('"compute-1-0"', '"compute"', "NAME-VERSION-SUBVERSION"),
    "an image that is a path": ('"compute-1-0"', '"../x-1-0"', "NAME-VERSION-SUBVERSION"),
    "an image that is a number": ('"compute-1-0"', "3", "NAME-VERSION-SUBVERSION"),
    "a time without a unit": ("engines = 2", "deadline = 600", "a time from 10m to 24h"),
    "too short a time": ("engines = 2", 'deadline = "1m"', "a time from 10m to 24h"),
    "no path": ("engines = 2", 'access = ""', "the path of a file"),
    "what it has not": ("engines = 2", "count = 2", "there is no 'count'"),
}


@pytest.mark.parametrize(("before", "after", "said"), BAD.values(), ids=list(BAD))
def test_tables_that_make_no_sense(scene: Scene, tmp_path: Path, before: str, after: str, said: str) -> None:
    """They are refused before cidd is asked for anything."""
    with pytest.raises(UsageError) as caught:
        read(tmp_path, FILE.replace(before, after))
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_what_cidd_does_not_have(scene: Scene, tmp_path: Path) -> None:
    """Nodes that are not known or not accepted, an image that is not there: told at once."""
    scene.cidd.boot_key(*scene.hardware(9))
    strange = scene.node(9).name
    for text, said in (
        (FILE.replace("1-3", "1-5"), r"cidd knows no n\[4-5\]"),
        (FILE.replace("n[1-3]", strange), f"nobody has accepted {strange}"),
        (FILE.replace("compute-1-0", "compute-7-0"), "there is no image compute-7-0"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            read(tmp_path, text).check()
        assert "cluster.toml" in caught.value.message
    assert NetbootPool.at_controller


def test_how_cidd_is_reached(tmp_path: Path) -> None:
    """By a file beside the cluster's, or where `netboot.up` leaves it; what is none is said."""
    wanted = {"access": "access.json"}
    access = tmp_path / "access.json"
    with pytest.raises(UsageError, match="cannot be read") as caught:
        netboot_table.client(wanted, tmp_path, "cluster.toml pool")
    assert "cncp netboot.up" in caught.value.hint
    for text in ("", "{}", "[]", '{"url": 3, "fingerprint": "", "token": ""}', "\0"):
        access.write_text(text)
        with pytest.raises(CncpError, match=r"access\.json"):
            netboot_table.client(wanted, tmp_path, "cluster.toml pool")
    access.write_text(json.dumps(Access("http://x", "0" * 64, "t").to_json()))
    with pytest.raises(CncpError, match="no address of cidd"):
        netboot_table.client(wanted, tmp_path, "cluster.toml pool")
    access.write_text(json.dumps(Access("https://127.0.0.1:1", "0" * 64, "t").to_json()))
    client = netboot_table.client(wanted, tmp_path, "cluster.toml pool")
    with pytest.raises(CncpError, match="does not answer"):
        client.nodes()


def test_what_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of another server's, or a damaged one, is our error."""
    (tmp_path / "a").write_text(json.dumps(Access("https://127.0.0.1:1", "0" * 64, "t").to_json()))
    client = netboot_table.client({"access": "a"}, tmp_path, "cluster.toml pool")
    for answer in (b"", b"{}", b"<html>", b"[3]", b'[{"name": 3}]', b'[{"name": "n1"}]'):
        monkeypatch.setattr(type(client), "ask", lambda *_, answer=answer: answer)
        with pytest.raises(CncpError):
            client.nodes()


def test_its_name_at_cidd(tmp_path: Path) -> None:
    """It is one that cidd takes, whatever an account is called."""
    path = tmp_path / "cluster.toml"
    path.write_text(FILE)
    (pool,) = pools(sources.read(path)[1], tmp_path / "home")
    assert isinstance(pool, NetbootPool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(netboot_pool, "owner_tag", lambda _: "ä b\\" + "x" * 90 + "@host/12")
        assert len(pool.job) <= 64
        assert pool.job.startswith("--b-xxx")
