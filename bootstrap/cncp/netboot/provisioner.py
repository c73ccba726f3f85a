"""What cidd decides: which boot script a node gets, what it is to do next, and how far a job's nodes are.

Knows of no network: ``cidd_web`` brings requests here, and whatever changes is told to those who wait.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from cncp.config.hostlist import fold
from cncp.errors import UsageError
from cncp.netboot import messages, node_states
from cncp.netboot.messages import BOOT, CaptureState, NodeProgress, Outcome, Report, Task, Wish
from cncp.netboot.node_db import Capture, Event, NodeDb
from cncp.netboot.node_states import IN_BLANCMANGE, UNDER_WAY, Node, tries_of
from cncp.netboot.proof import DeniedError, Proof, StaleError

_NODES = "cncp node.list names those that there are"
_MOST_UNKNOWN = 1024  # nodes that nobody has accepted: whoever is on that network can pretend to be some
_KEPT = 86400.0  # s that what a job asked for is remembered after its time
_ABANDONED = 180.0  # s without a question until nobody waits for a job: cidcapt asks each 50 s
_RETRY = 5.0  # s until a node that waits asks again


class Images(Protocol):
    """The images there are."""

    def names(self) -> Sequence[str]:
        """Return their names."""

    def bootable(self, name: str) -> bool:
        """Tell whether nodes can be put into one."""

    def packed(self, name: str) -> bool:
        """Tell whether one can begin anew on a node by a boot."""


class Provisioner:
    """Nodes, jobs, images and what follows from them. ``clock`` gives s since the epoch."""

    def __init__(
        self,
        db: NodeDb,
        images: Images,
        clock: Callable[[], float],
        tell: Callable[[Event], None],
        at_once: int = 8,
    ) -> None:
        """``tell`` hears of all that happens, ``at_once`` is how many nodes may fetch at a time."""
        self._db = db
        self._images = images
        self._clock = clock
        self._tell = tell
        self._at_once = at_once
        self._began = clock()
        self._asked: dict[str, float] = {}

    # Nodes that boot.

    def boot_key(self, mac: str, uuid: str) -> tuple[Node, str]:
        """Return the node that asks for a boot script, and the key of that boot: "" where it is to boot nothing.

        A node that is not known is noted, so that somebody may accept it. A key is given while its reboot is
        expected, each in place of the one before. Raises UsageError where too many are unknown.
        """
        node = self._db.by_hardware(mac, uuid)
        if node is None:
            if sum(known.state == "unknown" for known in self._db.nodes()) >= _MOST_UNKNOWN:
                raise UsageError("too many nodes wait to be accepted", "accept or forget some: cncp node.list")
            node = Node(_new_name(mac, self._db), mac, uuid, since=self._clock(), heard=self._clock())
            self._save([(None, node, "asks for a boot script and is not known")])
            return node, ""
        if node.state != "rebooting" or not node.by_network:
            return node, ""
        with self._db.transaction():
            return node, self._new_boot_key(node.name)

    def _new_boot_key(self, name: str) -> str:
        key = secrets.token_hex(16)
        self._db.give_key(name, BOOT, key.encode())
        return key

    def report(self, name: str, report: Report, proof: Proof) -> Task:
        """Take what a node says; return what it is to do.

        Raises DeniedError for who is not that node, OutOfTurnError for what it cannot say now; nothing changes then.
        """
        node, secret = self._proved(name, proof)
        if (proof.purpose == BOOT) != (report.state in IN_BLANCMANGE or report.state in ("boot", "failed")):
            raise DeniedError(f"{name} has no key to say that it is {report.state}", "")
        if report.state == "alive" and report.image != proof.purpose:
            raise DeniedError(f"{name} has the key of {proof.purpose}, not of {report.image}", "")
        now = self._clock()
        after = node_states.reported(node, report.state, now, report.image, report.percent, report.reason, report.fresh)
        if report.slots is not None:
            after = replace(after, slots=report.slots)
        if after.state == "queued" and self._turn(after):
            after = node_states.reported(after, "fetch", now)
        session = messages.session_key(secret, after.wanted) if after.state == "boot" else b""
        with self._db.transaction():
            self._use(name, proof)
            if session:
                self._db.give_key(name, after.wanted, session)
            if after.state == "alive":
                self._db.take_key(name, BOOT)
            told = self._write(node, after, report.reason)
        self._say(told)
        return _task(after)

    def admit(self, name: str, proof: Proof) -> None:
        """Hold that a request is a node's own. Raises DeniedError."""
        self._proved(name, proof)
        with self._db.transaction():
            self._use(name, proof)

    def has_task(self, name: str, joined: str | None = None) -> bool:
        """Tell whether there is something for a node that runs an image to do.

        ``joined`` is the digest of what its engines have joined by, None of one that knows nothing of engines.
        """
        node = self._known(name)
        return node.state in ("draining", "rebooting") or (joined is not None and joined != self._meeting(node))

    def task(self, name: str) -> Task:
        """Return what a node that runs an image is to do: over TLS, as it may hold a key."""
        node = self._known(name)
        with self._db.transaction():
            key = self._new_boot_key(name) if node.state == "rebooting" and node.by_network else ""
        return replace(_task(node), key=key, rendezvous=self._meeting(node))

    def _meeting(self, node: Node) -> str:
        """Return the digest of what the engines of a node are to join by, "" where they are to join nothing."""
        document = self._db.rendezvous(node.job) if node.is_there else ""
        return hashlib.sha256(document.encode()).hexdigest()[:16] if document else ""

    def rendezvous(self, name: str) -> str:
        """Return what the engines of a node join by: for a node alone that has proved to run its pool's image.

        Raises UsageError where there is nothing to join.
        """
        node = self._known(name)
        if not self._meeting(node):
            raise UsageError(f"{name} has nothing to join", "cncp up, where the pool is")
        return self._db.rendezvous(node.job)

    def meet(self, job: str, document: str) -> None:
        """Keep what the engines of a job's nodes join by, and have the nodes know. Raises UsageError."""
        capture = self._db.capture(job)
        if capture is None:
            raise UsageError(f"no job {job} has asked for nodes", "ask for some first")
        with self._db.transaction():
            self._db.keep_rendezvous(job, document)
        nodes = [node for name in capture.nodes if (node := self._db.node(name)) and node.job == job]
        self._say(Event(self._clock(), node.name, node.state, node.image, job, "may join") for node in nodes)

    def _proved(self, name: str, proof: Proof) -> tuple[Node, bytes]:
        node = self._db.node(name)
        if node is None:
            raise DeniedError(f"no key of {name[:64]} holds for this", "")
        return node, proof.hold(name, self._db.key(name, proof.purpose))

    def _use(self, name: str, proof: Proof) -> None:
        if not self._db.used(name, proof.purpose, proof.serial):
            raise StaleError(name, proof.serial)

    def _turn(self, node: Node) -> bool:
        """Tell whether a node that waits may fetch now: those that came before it go first."""
        others = [other for other in self._db.nodes() if other.name != node.name]
        fetching = sum(other.state == "fetch" for other in others)
        before = sum(other.state == "queued" and other.since < node.since for other in others)
        return fetching + before < self._at_once

    # Those who look after nodes.

    def nodes(self) -> list[Node]:
        """Return all nodes."""
        return self._db.nodes()

    def accept(self, name: str, new_name: str = "") -> Node:
        """Vouch for a node, and give it a name. Raises UsageError."""
        node = self._known(name)
        if new_name and new_name != name and self._db.node(new_name):
            raise UsageError(f"there is a node {new_name} already", "choose another name")
        if new_name and node.state != "unknown" and new_name != name:
            raise UsageError(f"{name} has been accepted as that", "forget it first: its keys are of that name")
        named = Node.from_json({**node.to_json(), "name": new_name or name}, "the node", "choose another name")
        after = node_states.accepted(named, self._clock())
        with self._db.transaction():
            if after.name != name:
                self._db.forget(name)
            told = self._write(node, after, "accepted")
        self._say(told)
        return after

    def again(self, name: str) -> Node:
        """Have a node begin anew that somebody has switched off and on. Raises CncpError."""
        node = self._known(name)
        after = node_states.begun_anew(node, self._clock())
        self._save([(node, after, "begun anew by hand")])
        return after

    def forget(self, name: str) -> None:
        """Know nothing of a node any more, so that nothing it holds is worth something. Raises UsageError."""
        node = self._known(name)
        if node.state in UNDER_WAY:
            raise UsageError(f"{name} is {node.state}", "wait until it has arrived, or cancel its job")
        with self._db.transaction():
            self._db.forget(name)

    def _known(self, name: str) -> Node:
        node = self._db.node(name)
        if node is None:
            raise UsageError(f"there is no node {name[:64]!r}", _NODES)
        return node

    # Jobs.

    def capture(self, job: str, wish: Wish) -> CaptureState:
        """Have nodes be put into an image for a job; asked again for the same, go on. Raises UsageError.

        All its nodes are begun, or none: not where one is unknown, or another job's. Who holds nodes may ask for
        others, or another image, at any time; those that it does not ask for any more are let go.
        """
        if wish.image not in self._images.names():
            there = ", ".join(self._images.names()) or "none"
            raise UsageError(f"there is no image {wish.image}", f"there are: {there}")
        if not self._images.bootable(wish.image):
            raise UsageError(f"{wish.image} is an image of Darwin, which cannot be booted here", "name one of Linux")
        names = tuple(dict.fromkeys(wish.nodes))
        known = self._db.capture(job)
        going = known is not None and self._outcome(known) == "waiting"
        same = known is not None and (known.nodes, known.image) == (names, wish.image)
        if going and not same and not wish.hold:
            raise UsageError(f"job {job} has asked for other nodes, or another image", "cancel it first")
        nodes = {node.name: node for node in self._db.nodes()}
        if missing := [name for name in names if name not in nodes]:
            raise UsageError(f"there is no node {', '.join(fold(missing))}", _NODES)
        self._refuse_overlap(job, [nodes[name] for name in names])
        now = self._clock()
        text = f"job {job} wants {wish.image}"
        packed = self._images.packed(wish.image)
        sent = {name: node_states.sent_to(nodes[name], wish.image, job, now, packed=packed) for name in names}
        changes = [(nodes[name], after, text) for name, after in sent.items()]
        former = [nodes[name] for name in (known.nodes if known else ()) if name in nodes and name not in names]
        changes += [(node, node_states.released(node, job, now), f"job {job} lets it go") for node in former]
        deadline = known.deadline if known and going and same else now + wish.timeout
        with self._db.transaction():
            self._db.keep(Capture(job, names, wish.image, deadline, wish.hold))
            told = [event for before, after, text in changes for event in self._write(before, after, text)]
        self._say(told)
        return self.capture_state(job)

    def _refuse_overlap(self, job: str, nodes: Sequence[Node]) -> None:
        """Raise UsageError where a node is another job's, as long as that waits for it or holds it."""
        having = {node.job for node in nodes}
        for other in self._db.captures():
            # Of jobs that are over there may be many, each with all nodes.
            if other.job == job or not (other.hold or (other.job in having and self._outcome(other) == "waiting")):
                continue
            theirs = frozenset(other.nodes)
            if both := [node.name for node in nodes if node.name in theirs]:
                does = ("has", "in") if other.hold else ("puts", "into")
                raise UsageError(
                    f"job {other.job} {does[0]} {', '.join(fold(both))} {does[1]} {other.image}",
                    "have it let them go: cncp scale, or cncp down, where that pool is"
                    if other.hold
                    else "wait for it, or cancel it",
                )

    def capture_state(self, job: str) -> CaptureState:
        """Return how far a job's nodes are. Raises UsageError."""
        capture = self._db.capture(job)
        if capture is None:
            raise UsageError(f"no job {job} has asked for nodes", "ask for some, or see cncp node.list")
        self._asked[job] = self._clock()
        nodes = [node for name in capture.nodes if (node := self._db.node(name))]
        progress = tuple(NodeProgress(node.name, node.state, node.percent, node.reason) for node in nodes)
        return CaptureState(capture.job, capture.image, self._outcome(capture), progress)

    def outcomes(self) -> Mapping[str, int]:
        """Return how many jobs that have not let go are done, wait, or have failed."""
        return Counter[str](self._outcome(capture) for capture in self._db.captures())

    def _outcome(self, capture: Capture) -> Outcome:
        outcome: Outcome = "done"
        for name in capture.nodes:
            node = self._db.node(name)
            # One that is gone is no node of the job's any more, nor is one that another has got since.
            if node is None or node.job != capture.job or node.state == "failed":
                return "failed"
            if node.state != "alive" or node.image != capture.image:
                outcome = "late" if self._clock() > capture.deadline else "waiting"
        return outcome

    def release(self, job: str) -> None:
        """Let a job's nodes go, and those of its earlier tries: Slurm counts one that is requeued before it has ended.

        A job that has none is none the worse.
        """
        now, told = self._clock(), list[Event]()
        with self._db.transaction():
            for capture in filter(None, map(self._db.capture, tries_of(job))):
                self._db.let_go(capture.job)
                self._asked.pop(capture.job, None)
                for node in filter(None, map(self._db.node, capture.nodes)):
                    free = node_states.released(node, capture.job, now)
                    told += self._write(node, free, f"job {capture.job} lets it go")
        self._say(told)

    # Time.

    def look(self) -> None:
        """Have nodes that have said nothing for too long begin anew, or fail."""
        now = self._clock()
        changes = [(node, node_states.looked_at(node, now, self._began)) for node in self._db.nodes()]
        if silent := [(before, after, after.reason) for before, after in changes if after != before]:
            self._save(silent)
        for capture in self._db.captures():
            if not capture.hold and (now > capture.deadline + _KEPT or self._abandoned(capture, now)):
                self.release(capture.job)

    def _abandoned(self, capture: Capture, now: float) -> bool:
        """Tell whether nobody waits for a job that is not there yet: who asked for it was killed, or its machine."""
        silent = now - max(self._asked.get(capture.job, 0.0), self._began)
        return silent > _ABANDONED and self._outcome(capture) == "waiting"

    def _save(self, changes: Iterable[tuple[Node | None, Node, str]]) -> None:
        with self._db.transaction():
            told = [event for before, after, text in changes for event in self._write(before, after, text)]
        self._say(told)

    def _write(self, before: Node | None, after: Node, text: str) -> list[Event]:
        """Write a node that has changed. Progress within a state is no event of its own."""
        if after == before:
            return []
        # Who waits for a job that lets a node go is told as well.
        job = after.job or (before.job if before else "")
        event = Event(self._clock(), after.name, after.state, after.wanted or after.image, job, text)
        passing = before is not None and _stage(before) == _stage(after)
        self._db.save(after, None if passing else event)
        return [event]

    def _say(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tell(event)


def _task(node: Node) -> Task:
    """Return what follows for a node, wherever it is."""
    if node.state == "draining":
        return Task("drain", node.wanted)
    if node.state == "rebooting":
        return Task("blancmange" if node.by_network else "switch", node.wanted)
    if node.state == "queued":
        return Task("wait", node.wanted, _RETRY)
    return Task("install", node.wanted) if node.state in IN_BLANCMANGE or node.state == "boot" else Task("none")


def _stage(node: Node) -> tuple[str, str, str, int]:
    return node.state, node.wanted, node.job, node.tries


def _new_name(mac: str, db: NodeDb) -> str:
    """Return what a node is called that nobody has named: after its card's address."""
    name = "node-" + re.sub("[^0-9a-f]", "", mac)
    return name if db.node(name) is None else f"{name}-{secrets.token_hex(2)}"
