"""What cidd decides, with a clock of its own: who may say what, whose turn it is, what a job gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError, UsageError
from cncp.netboot import cidkid, messages, node_states
from cncp.netboot.boot_script import boot_script
from cncp.netboot.messages import BOOT, CaptureState, Report, Task, Wish
from cncp.netboot.node_db import Event, NodeDb
from cncp.netboot.node_states import Node, OutOfTurnError, State
from cncp.netboot.proof import DeniedError, Proof, StaleError
from cncp.netboot.provisioner import Provisioner

OLD, NEW, OTHER, PACKED = "compute-1-0", "compute-1-1", "tiger-1-0", "packed-1-0"


class Images:
    """The images there are."""

    def names(self) -> list[str]:
        """Return their names."""
        return [NEW, OLD, OTHER, PACKED]

    def bootable(self, name: str) -> bool:
        """Tell whether nodes can be put into one."""
        return name != OTHER

    def packed(self, name: str) -> bool:
        """Tell whether one begins anew by a boot."""
        return name == PACKED


class Scene:
    """A provisioner, its clock, what it told, and nodes that speak to it."""

    def __init__(self, path: Path, at_once: int = 8) -> None:
        self.now = 1000.0
        self.told: list[Event] = []
        self.path = path
        self.at_once = at_once
        self.begin()
        self.keys: dict[tuple[str, str], str] = {}
        self.serial = 0

    def begin(self) -> None:
        """Begin anew, with what is in the file."""
        self.db = NodeDb(self.path)
        self.cidd = Provisioner(self.db, Images(), lambda: self.now, self.told.append, self.at_once)

    def hardware(self, number: int) -> tuple[str, str]:
        """Return address and UUID of a node."""
        return f"52:54:00:00:00:{number:02x}", f"00000000-0000-0000-0000-{number:012x}"

    def node(self, number: int) -> Node:
        """Return what is known of a node."""
        found = self.db.by_hardware(*self.hardware(number))
        assert found is not None
        return found

    def accepted(self, number: int) -> None:
        """Have a node ask for a boot script and be accepted as nNUMBER."""
        known, key = self.cidd.boot_key(*self.hardware(number))
        assert key == ""
        self.cidd.accept(known.name, f"n{number}")

    def boots(self, number: int) -> None:
        """Have a node ask for its boot script, and keep the key in it."""
        known, key = self.cidd.boot_key(*self.hardware(number))
        assert key
        self.keys[known.name, BOOT] = key

    def proof(self, name: str, purpose: str, body: bytes = b"", target: str = "") -> Proof:
        """Return a proof of a node's, with the next serial."""
        self.serial += 1
        secret = self.keys[name, purpose].encode()
        target = target or f"/v1/nodes/{name}/report"
        signed = cidkid.signature(secret, "POST", target, self.serial, body)
        return Proof(purpose, self.serial, signed, "POST", target, body)

    def says(self, number: int, state: State, image: str = "", **members: object) -> Task:
        """Have a node report."""
        name = f"n{number}"
        body = json.dumps({"state": state, "image": image, **members}).encode()
        proof = self.proof(name, image if state in ("alive", "rebooting") else BOOT, body)
        if state == "rebooting":
            body = json.dumps({"state": state}).encode()
            proof = self.proof(name, image, body)
        task = self.cidd.report(name, Report.from_json(body, "a report"), proof)
        if state == "boot":
            key = messages.session_key(self.keys[name, BOOT].encode(), self.node(number).wanted)
            self.keys[name, self.node(number).wanted] = key.decode()
        return task

    def installs(self, number: int, image: str) -> None:
        """Have a node that boots by the network arrive in an image."""
        self.boots(number)
        on_the_way: tuple[State, ...] = ("blancmange", "partition", "queued", "verify", "unpack", "boot")
        for state in on_the_way:
            assert self.says(number, state).verb == "install"
        self.says(number, "alive", image)

    def wants(self, job: str, image: str, *numbers: int, timeout: float = 5000) -> CaptureState:
        """Have a job ask for nodes."""
        return self.cidd.capture(job, Wish(tuple(f"n{number}" for number in numbers), image, timeout))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return one without a node."""
    made = Scene(tmp_path / "nodes.db")
    yield made
    made.db.close()


def test_from_a_first_boot_to_a_job_that_may_begin(scene: Scene) -> None:
    """Two nodes, an image, all of it in the trace."""
    for number in (1, 2):
        scene.accepted(number)
    assert scene.wants("7", OLD, 1, 2).outcome == "waiting"
    for number in (1, 2):
        scene.installs(number, OLD)
    assert scene.cidd.capture_state("7").outcome == "done"
    states = [event.state for _, event in scene.db.events("n1")]
    assert states == ["ready", "rebooting", "blancmange", "partition", "fetch", "verify", "unpack", "boot", "alive"]
    assert scene.wants("7", OLD, 1, 2).outcome == "done", "asked again, it is as it was"


def test_another_image_and_back(scene: Scene) -> None:
    """It drains, gets a key for Blancmange over its own, and on the way back finds its image on the disk."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    scene.wants("8", NEW, 1)
    assert scene.cidd.has_task("n1")
    assert scene.cidd.task("n1") == Task("drain", NEW)
    assert scene.says(1, "rebooting", OLD).verb == "blancmange"
    task = scene.cidd.task("n1")
    assert task.key
    scene.keys["n1", BOOT] = task.key
    for state in ("blancmange", "queued", "verify", "unpack", "boot"):
        scene.says(1, state)
    scene.says(1, "alive", NEW)
    assert scene.cidd.capture_state("8").outcome == "done"
    scene.wants("9", OLD, 1)
    assert scene.says(1, "rebooting", NEW) == Task("switch", OLD)
    assert scene.cidd.task("n1") == Task("switch", OLD)
    scene.says(1, "alive", OLD)
    assert scene.cidd.capture_state("9").outcome == "done"


def test_cidd_is_begun_anew_in_every_state(scene: Scene) -> None:
    """It goes on where it was: keys, deadlines and whose turn it is."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.boots(1)
    for state in ("blancmange", "partition", "queued", "verify", "unpack", "boot"):
        scene.db.close()
        scene.begin()
        scene.says(1, state)
    scene.db.close()
    scene.begin()
    scene.says(1, "alive", OLD)
    assert scene.cidd.capture_state("7").outcome == "done"


def test_a_node_that_has_not_heard_that_it_is_its_turn(scene: Scene) -> None:
    """It asks again, as it does whose answer was lost with cidd or on the way, and goes on."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.boots(1)
    for state in ("blancmange", "queued", "queued"):
        task = scene.says(1, state)
    assert (task.verb, scene.node(1).state) == ("install", "fetch")


def test_who_fetches(tmp_path: Path) -> None:
    """So many at a time, in the order in which they came; one that falls silent holds up nobody for ever."""
    scene = Scene(tmp_path / "nodes.db", at_once=2)
    for number in range(1, 6):
        scene.accepted(number)
    scene.wants("7", OLD, *range(1, 6))
    for number in range(1, 6):
        scene.now += 1
        scene.boots(number)
        scene.says(number, "blancmange")
        verbs = scene.says(number, "queued").verb
        assert verbs == ("install" if number <= 2 else "wait")
    assert scene.says(5, "queued") == Task("wait", OLD, 5.0)
    scene.says(1, "verify")
    assert scene.says(4, "queued").verb == "wait", "the third was there before"
    assert scene.says(3, "queued").verb == "install"
    scene.now += 301
    scene.cidd.look()
    assert scene.node(2).state == "rebooting"
    scene.db.close()


@pytest.mark.parametrize(
    "spoiled",
    ["signature", "serial", "body", "method", "target", "purpose", "other node", "old key", "no key", "unknown node"],
)
def test_who_is_not_that_node(scene: Scene, spoiled: str) -> None:
    """It is told nothing, and nothing changes."""
    for number in (1, 2):
        scene.accepted(number)
    scene.wants("7", OLD, 1, 2)
    scene.boots(1)
    scene.boots(2)
    scene.says(1, "blancmange")
    before, body = scene.db.nodes(), b'{"state": "partition"}'
    proof, name = scene.proof("n1", BOOT, body), "n1"
    if spoiled == "old key":
        scene.db.give_key("n1", BOOT, b"new")
    if spoiled == "no key":
        scene.db.take_key("n1", BOOT)
    changes: dict[str, dict[str, Any]] = {
        "signature": {"signature": "0" * 64},
        "serial": {"serial": 1},
        "body": {"body": b'{"state": "failed"}'},
        "method": {"method": "PUT"},
        "target": {"target": "/v1/nodes/n2/report"},
        "purpose": {"purpose": OLD},
    }
    if spoiled in ("other node", "unknown node"):
        name = "n2" if spoiled == "other node" else "n9"
    with pytest.raises(DeniedError):
        scene.cidd.report(name, Report("partition"), replace(proof, **changes.get(spoiled, {})))
    assert scene.db.nodes() == before


def test_what_was_said_is_not_said_again(scene: Scene) -> None:
    """A copy of a report is worth nothing, neither now nor after another boot."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.boots(1)
    body = b'{"state": "blancmange"}'
    proof = scene.proof("n1", BOOT, body)
    scene.cidd.report("n1", Report("blancmange"), proof)
    with pytest.raises(DeniedError):
        scene.cidd.report("n1", Report("blancmange"), proof)
    scene.now += 121
    scene.cidd.look()
    scene.boots(1)
    with pytest.raises(DeniedError):
        scene.cidd.report("n1", Report("blancmange"), proof)


def test_a_key_says_only_what_it_is_for(scene: Scene) -> None:
    """That of a boot does not make a node alive, and that of an image not another image."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    for purpose, report in ((BOOT, Report("alive", OLD)), (OLD, Report("fetch")), (OLD, Report("alive", NEW))):
        proof = scene.proof("n1", purpose)
        with pytest.raises(DeniedError):
            scene.cidd.report("n1", report, proof)
    assert scene.db.key("n1", BOOT) is None, "alive, the key of the boot is worth nothing"


def test_out_of_turn(scene: Scene) -> None:
    """What cannot be so now is refused, and the node is where it was."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.boots(1)
    before = scene.node(1)
    with pytest.raises(OutOfTurnError, match="rebooting and cannot be unpack"):
        scene.says(1, "unpack")
    assert scene.node(1) == before


def test_a_boot_nobody_expects(scene: Scene) -> None:
    """No key for who is unknown, accepted and not wanted, alive, or on its way by the disk."""
    known, key = scene.cidd.boot_key(*scene.hardware(1))
    assert (known.state, key) == ("unknown", "")
    assert scene.cidd.boot_key(*scene.hardware(1)) == (known, ""), "it is noted once"
    assert "is unknown" in boot_script("10.0.0.1:38009", known, "")
    scene.cidd.accept(known.name, "n1")
    assert scene.cidd.boot_key(*scene.hardware(1))[1] == ""
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    alive, key = scene.cidd.boot_key(*scene.hardware(1))
    assert key == ""
    assert "exit 1 ||\nsanboot" in boot_script("10.0.0.1:38009", alive, "")
    stranger, key = scene.cidd.boot_key(scene.hardware(1)[0], scene.hardware(2)[1])
    assert (stranger.state, key) == ("unknown", ""), "a known card in another machine is another machine"
    assert stranger.name != "n1"


def test_names_of_nodes(scene: Scene) -> None:
    """A name is one node's, and stays; one that is forgotten is unknown, and its keys are gone."""
    scene.accepted(1)
    known, _ = scene.cidd.boot_key(*scene.hardware(2))
    with pytest.raises(UsageError, match="n1 already"):
        scene.cidd.accept(known.name, "n1")
    with pytest.raises(UsageError, match="accepted as that"):
        scene.cidd.accept("n1", "n3")
    with pytest.raises(UsageError, match="no node 'n9'"):
        scene.cidd.accept("n9")
    scene.wants("7", OLD, 1)
    with pytest.raises(UsageError, match="n1 is rebooting"):
        scene.cidd.forget("n1")
    scene.installs(1, OLD)
    scene.cidd.forget("n1")
    assert scene.cidd.boot_key(*scene.hardware(1))[0].state == "unknown"
    assert scene.db.key("n1", OLD) is None
    assert scene.cidd.capture_state("7").outcome == "failed", "a node of a job is gone"


def test_jobs_do_not_share_nodes(scene: Scene) -> None:
    """One that overlaps begins nothing, and names what it may not have; beside it others go on."""
    for number in range(1, 5):
        scene.accepted(number)
    scene.wants("7", OLD, 1, 2)
    before = scene.db.nodes()
    with pytest.raises(UsageError, match="job 7 puts n2 into compute-1-0"):
        scene.wants("8", NEW, 2, 3)
    with pytest.raises(UsageError, match="other nodes, or another image"):
        scene.wants("7", NEW, 1, 2)
    with pytest.raises(UsageError, match=r"no node n\[8-9\]"):
        scene.wants("9", NEW, 3, 8, 9)
    with pytest.raises(UsageError, match="no image compute-9-9"):
        scene.wants("9", "compute-9-9", 3)
    assert scene.db.nodes() == before
    scene.wants("8", NEW, 3, 4)
    for number in (1, 2):
        scene.installs(number, OLD)
    scene.wants("9", OLD, 1, 2)
    assert scene.cidd.capture_state("9").outcome == "done"


def test_a_node_that_nobody_accepted(scene: Scene) -> None:
    """A job that names it begins nothing."""
    scene.accepted(1)
    known, _ = scene.cidd.boot_key(*scene.hardware(2))
    before = scene.db.nodes()
    with pytest.raises(CncpError, match="is unknown"):
        scene.cidd.capture("7", Wish(("n1", known.name), OLD, 60))
    assert scene.db.nodes() == before
    assert scene.db.capture("7") is None


def test_an_image_that_no_node_can_boot(scene: Scene) -> None:
    """A job that asks for it begins nothing."""
    scene.accepted(1)
    with pytest.raises(CncpError, match="cannot be booted here"):
        scene.cidd.capture("7", Wish(("n1",), OTHER, 60))
    assert scene.db.capture("7") is None


def test_time_is_over_and_nodes_fail(scene: Scene) -> None:
    """A job is late after its time; a node that never comes fails in the end, and the job with it."""
    scene.accepted(1)
    scene.wants("7", OLD, 1, timeout=700)
    scene.now += 701
    scene.cidd.look()
    assert scene.cidd.capture_state("7").outcome == "late"
    for _ in range(2):
        scene.now += 601
        scene.cidd.look()
    state = scene.cidd.capture_state("7")
    assert (state.outcome, state.nodes[0].reason) == ("failed", "rebooting for more than 600 s")
    assert scene.wants("7", OLD, 1).outcome == "waiting", "begun anew, it is tried anew"


def test_a_job_that_is_cancelled(scene: Scene) -> None:
    """Its nodes are another's at once where they had not left; twice is no error."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    scene.wants("8", NEW, 1)
    scene.cidd.release("8")
    scene.cidd.release("8")
    assert (scene.node(1).state, scene.node(1).wanted) == ("alive", OLD)
    assert scene.wants("9", OLD, 1).outcome == "done"
    assert [event.job for event in scene.told if "lets it go" in event.text] == ["8"], "who waits for it looks again"


def test_a_job_that_thinks_again_while_its_node_drains(scene: Scene) -> None:
    """It drains on for the other image, which costs no try; or stays where it is."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    scene.wants("8", NEW, 1)
    scene.cidd.release("8")
    scene.wants("8", NEW, 1)
    drains = node_states.sent_to(scene.node(1), "compute-1-2", "8", scene.now)
    assert (drains.state, drains.wanted) == ("draining", "compute-1-2")
    assert node_states.sent_to(drains, OLD, "8", scene.now).is_there
    assert scene.says(1, "rebooting", OLD).verb == "blancmange"
    assert scene.node(1).tries == 0


def test_what_is_waited_for_is_told(scene: Scene) -> None:
    """Each change of a node is told after it is written; progress too, which is not kept."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.boots(1)
    for state in ("blancmange", "queued"):
        scene.says(1, state)
    kept = len(scene.db.events("n1"))
    scene.says(1, "fetch", percent=40)
    assert scene.node(1).percent == 40
    assert scene.told[-1].state == "fetch"
    assert len(scene.db.events("n1")) == kept


def test_strangers_are_so_many_at_most(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is on the network can ask in any name; what is known is served all the same."""
    monkeypatch.setattr("cncp.netboot.provisioner._MOST_UNKNOWN", 2)
    scene.accepted(1)
    for number in (2, 3):
        scene.cidd.boot_key(*scene.hardware(number))
    with pytest.raises(UsageError, match="too many nodes"):
        scene.cidd.boot_key(*scene.hardware(4))
    assert scene.cidd.boot_key(*scene.hardware(1))[0].name == "n1"
    assert len(scene.db.nodes()) == 3


def test_jobs_are_forgotten_in_the_end(scene: Scene) -> None:
    """A day after its time, whether or not anybody has let it go."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    scene.now += 5000 + 86400
    scene.cidd.look()
    assert scene.db.capture("7") is not None
    scene.now += 1
    scene.cidd.look()
    assert scene.db.capture("7") is None


def test_jobs_that_are_over_take_no_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all nodes go from job to job, each is looked at for the last one, whatever came before."""
    names = [f"n{number}" for number in range(20)]
    with scene.db.transaction():
        for number, name in enumerate(names):
            scene.db.save(Node(name, *scene.hardware(number), "alive", image=OLD, wanted=OLD, slots=(OLD,)), None)
    asked, node = list[str](), scene.db.node

    def counted(name: str) -> Node | None:
        asked.append(name)
        return node(name)

    monkeypatch.setattr(scene.db, "node", counted)
    for job in range(50):
        asked.clear()
        assert scene.cidd.capture(str(job), Wish(tuple(names), OLD, 60)).outcome == "done"
        assert len(asked) <= 3 * len(names)
    scene.now += 1000
    asked.clear()
    scene.cidd.look()
    assert scene.cidd.outcomes() == {"failed": 49, "done": 1}
    assert len(asked) <= 2 * (50 + len(names))


def test_what_cidd_did_not_hear_is_no_silence(scene: Scene) -> None:
    """Away for longer than any patience, it waits for its nodes from then on, and no longer."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.boots(1)
    scene.says(1, "blancmange")
    scene.db.close()
    scene.now += 5000
    scene.begin()
    scene.cidd.look()
    assert scene.node(1).state == "blancmange"
    scene.now += 121
    scene.cidd.look()
    assert scene.node(1).state == "rebooting"
    scene.now += 601
    scene.cidd.look()
    again = [event.text for _, event in scene.db.events("n1")][-2:]
    assert again == ["blancmange for more than 120 s", "rebooting for more than 600 s"]


@pytest.mark.parametrize("name", ["a b", "n1\nboot", "-n", "n" * 64, "ü", "../n"])
def test_names_that_are_none(scene: Scene, name: str) -> None:
    """None is written: it could not be read again, and would stand in a boot script."""
    known, _ = scene.cidd.boot_key(*scene.hardware(1))
    with pytest.raises(CncpError, match="the name of a node"):
        scene.cidd.accept(known.name, name)
    assert scene.db.nodes() == [known]


def holds(scene: Scene, job: str, image: str, *numbers: int) -> CaptureState:
    """Have a pool ask for nodes."""
    return scene.cidd.capture(job, Wish(tuple(f"n{number}" for number in numbers), image, 5000, hold=True))


def test_a_job_after_another_on_a_packed_image(scene: Scene) -> None:
    """It gets the node begun anew by a boot from its disk, the same job not; whether or not the first has let go."""
    scene.accepted(1)
    scene.wants("7", PACKED, 1)
    scene.installs(1, PACKED)
    scene.cidd.release("7")
    assert scene.wants("7~1", PACKED, 1).outcome == "done"
    scene.db.close()
    scene.begin()
    assert scene.wants("8", PACKED, 1).outcome == "waiting"
    assert scene.cidd.task("n1") == Task("drain", PACKED)
    assert scene.says(1, "rebooting", PACKED) == Task("switch", PACKED)
    assert scene.says(1, "alive", PACKED, fresh="b1") == Task("none")
    assert scene.cidd.capture_state("8").outcome == "done"
    assert scene.wants("8", PACKED, 1).outcome == "done"
    assert "begins anew" not in scene.node(1).reason


def test_a_job_that_is_requeued_lets_go(scene: Scene) -> None:
    """Of what its tries up to then have had; what comes after them stays."""
    for number, job in enumerate(("7", "7~1", "7~2", "77"), 1):
        scene.accepted(number)
        scene.wants(job, OLD, number)
    scene.cidd.release("7~1")
    assert [scene.node(number).job for number in (1, 2, 3, 4)] == ["", "", "7~2", "77"]
    assert [capture.job for capture in scene.db.captures()] == ["7~2", "77"]


def test_an_agent_that_was_started_again_before_its_node_left(scene: Scene) -> None:
    """In the same boot: what the last job has left is there still, and the image is fetched."""
    scene.accepted(1)
    scene.wants("7", PACKED, 1)
    scene.installs(1, PACKED)
    scene.wants("8", PACKED, 1)
    scene.says(1, "rebooting", PACKED)
    assert scene.says(1, "alive", PACKED).verb == "blancmange"
    assert scene.cidd.capture_state("8").outcome == "waiting"
    scene.installs(1, PACKED)
    assert scene.cidd.capture_state("8").outcome == "done"


def test_a_node_whose_clock_has_fallen_back(scene: Scene) -> None:
    """It is told which serial it has used, so that it can go on above that; who has not the key is not."""
    scene.accepted(1)
    scene.wants("7", OLD, 1)
    scene.installs(1, OLD)
    known, scene.serial = scene.serial, 2
    with pytest.raises(StaleError) as caught:
        scene.says(1, "alive", OLD)
    assert caught.value.serial == known
    scene.serial = 2
    with pytest.raises(DeniedError) as denied:
        scene.cidd.admit("n1", replace(scene.proof("n1", OLD), signature="0" * 64))
    assert not isinstance(denied.value, StaleError)
    scene.serial = known
    assert scene.says(1, "alive", OLD).verb == "none"


def test_what_a_pool_holds_is_nobody_elses(scene: Scene) -> None:
    """Not when they are there, nor long after; who asks is told which, and by whom; others are free."""
    for number in (1, 2, 3):
        scene.accepted(number)
    holds(scene, "pool", OLD, 1, 2)
    for number in (1, 2):
        scene.installs(number, OLD)
    scene.now += 10 * 86400
    scene.cidd.look()
    for ask in (scene.wants, lambda *words: holds(scene, *words)):
        with pytest.raises(UsageError, match=r"job pool has n2 in compute-1-0") as caught:
            ask("9", NEW, 2, 3)
        assert "cncp down" in caught.value.hint
    assert scene.wants("9", NEW, 3).outcome == "waiting"


def test_a_pool_asks_for_others_at_any_time(scene: Scene) -> None:
    """Fewer nodes, more, another image: those that it wants no more are let go, and go on as they are."""
    for number in (1, 2):
        scene.accepted(number)
    holds(scene, "pool", OLD, 1, 2)
    assert holds(scene, "pool", OLD, 2).outcome == "waiting"
    assert (scene.node(1).job, scene.node(2).job) == ("", "pool")
    assert [event.text for event in scene.told][-1] == "job pool lets it go"
    scene.installs(1, OLD)
    scene.installs(2, OLD)
    holds(scene, "pool", NEW, 1, 2)
    assert [scene.node(number).state for number in (1, 2)] == ["draining", "draining"]
    scene.cidd.release("pool")
    assert [(scene.node(number).state, scene.node(number).job) for number in (1, 2)] == [("alive", "")] * 2


def test_what_engines_join_by(scene: Scene) -> None:
    """A node has it once it runs its pool's image, knows of another one, and has nothing when it is let go."""
    scene.accepted(1)
    with pytest.raises(UsageError, match="no job pool"):
        scene.cidd.meet("pool", "{}")
    holds(scene, "pool", OLD, 1)
    scene.cidd.meet("pool", '{"seed": 1}')
    with pytest.raises(UsageError, match="nothing to join"):
        scene.cidd.rendezvous("n1")
    scene.installs(1, OLD)
    first = scene.cidd.task("n1")
    assert (first.verb, len(first.rendezvous)) == ("none", 16)
    assert scene.cidd.rendezvous("n1") == '{"seed": 1}'
    assert [scene.cidd.has_task("n1", joined) for joined in ("", first.rendezvous, None)] == [True, False, False]
    scene.cidd.meet("pool", '{"seed": 2}')
    assert scene.cidd.has_task("n1", first.rendezvous)
    scene.db.close()
    scene.begin()
    assert scene.cidd.rendezvous("n1") == '{"seed": 2}'
    scene.cidd.release("pool")
    assert scene.cidd.task("n1").rendezvous == ""
    assert scene.db.rendezvous("pool") == ""
    with pytest.raises(UsageError, match="nothing to join"):
        scene.cidd.rendezvous("n1")


def test_a_job_that_nobody_asks_for(scene: Scene) -> None:
    """Whoever waited for it is gone without a word: its nodes are the next one's. A pool need not ask again."""
    for number in (1, 2):
        scene.accepted(number)
    holds(scene, "pool", OLD, 1)
    scene.wants("7", OLD, 2)
    scene.now += 170
    scene.cidd.look()
    assert scene.cidd.capture_state("7").outcome == "waiting"
    scene.now += 170
    scene.cidd.look()
    assert scene.node(2).job == "7"
    scene.now += 20
    scene.cidd.look()
    assert (scene.node(1).job, scene.node(2).job) == ("pool", "")
    scene.wants("8", OLD, 2)
    scene.boots(2)
    scene.says(2, "blancmange")
    scene.now += 100
    scene.db.close()
    scene.begin()
    scene.now += 100
    scene.says(2, "partition")
    scene.cidd.look()
    assert scene.node(2).job == "8", "what it could not hear while it was away does not count"
