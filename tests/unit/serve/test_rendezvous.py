"""The service by which machines join: on the controller's machine it renews and serves, on members it follows."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.files import to_json
from cncp.machine import connection_files, offering
from cncp.machine.node import Node, node_path
from cncp.machine.ops import inviting
from cncp.ports import free_block
from cncp.rendezvous import member_record, owner
from cncp.rendezvous.documents import Body, Want
from cncp.rendezvous.fetching import Answer, Clock
from cncp.rendezvous.member_record import Look, Membership
from cncp.rendezvous.owner import Place
from cncp.rendezvous.publishing import new_batch, publish_join, renew
from cncp.rendezvous.sealing import opened
from cncp.rendezvous.stores.memory import MemoryStore
from cncp.serve import rendezvous
from cncp.waiting import wait_until
from tests.unit.machine.test_choices import node
from tests.unit.rendezvous.cluster import IPYPARALLEL, NOW, OFFER, rotated

LOG = logging.getLogger("test")


class Enough(Exception):  # no error
    """The end of a test's time."""


class Meeting:
    """A controller's home with an invitation, a member's home that has joined by it, and the store between."""

    def __init__(self, folder: Path) -> None:
        self.now, self.slept = NOW, 0
        self.store = MemoryStore(lambda: self.now)
        self.home = folder / "controller"
        self.home.mkdir()
        with owner.held(self.home, "a test"):
            owner.begin(self.home, Place())
        seed = publish_join(self.store, self.home, OFFER, new_batch(), lifetime=3600, settings={}, now=self.now)
        content = self.store.get_url(seed.join).body
        body = opened(
            content, "join", seed.batch, seed.key, cluster=seed.cluster, now=NOW, seen=0, ipyparallel=IPYPARALLEL
        )
        self.node = self.member(folder / "member", body)

    def member(self, folder: Path, body: Body) -> Node:
        """Return a machine that has joined."""
        made = replace(
            node(role="engine", engines="1"),
            home=str(folder),
            profile_dir=str(folder / "profile"),
            rendezvous="member",
        )
        made.run_dir.mkdir(parents=True)
        made.security_dir.mkdir(parents=True)
        node_path(folder).write_bytes(to_json(made))
        member_record.save(folder, member_record.of_join(body, NOW, None, instance=False))
        return made

    @property
    def state(self) -> str:
        """In which state the member is."""
        return self.known.state

    @property
    def known(self) -> Membership:
        """What the member knows."""
        found = member_record.load(Path(self.node.home))
        assert found is not None
        return found

    def follow(self, monkeypatch: pytest.MonkeyPatch, looks: int, alive: bool = False) -> None:
        """Have the member look so often."""

        def sleep(seconds: float) -> None:
            self.now += seconds
            self.slept += 1
            if self.slept >= looks:
                self.slept = 0
                raise Enough

        def fetch(url: str, etag: str = "", wait: int = 0) -> Answer:
            del wait
            return self.store.get_url(url, etag)

        monkeypatch.setattr(rendezvous, "fetch", fetch)
        monkeypatch.setattr(rendezvous, "controller_answers", lambda _: alive)
        monkeypatch.setattr(rendezvous, "Actor", lambda _: _Files())
        with pytest.raises(Enough):
            rendezvous.follow(self.node, LOG, Clock(lambda: self.now, sleep, lambda: 0.5))

    def publish(self, **named: object) -> None:
        """Renew what is due, as the controller's machine does."""
        offer = rotated() if named.get("keys") else OFFER
        want: Want = "stop" if named.get("stop") else "run"
        renew(self.store, self.home, offer, now=self.now, want=want)


class _Files:
    def write(self, path: Path, content: bytes, mode: int) -> None:
        path.write_bytes(content)
        path.chmod(mode)


@pytest.fixture
def meeting(tmp_path: Path) -> Meeting:
    """A cluster and who has joined it."""
    return Meeting(tmp_path)


def test_a_member_follows(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held by what is there; new keys are where engines read them, for their account alone."""
    meeting.follow(monkeypatch, 2)
    assert meeting.state == "held"
    meeting.publish(keys=True)
    meeting.follow(monkeypatch, 1)
    assert meeting.state == "moved"
    path = meeting.node.security_dir / "ipcontroller-engine.json"
    found = connection_files.engine(meeting.node)
    assert found is not None
    assert found.key == "n" * 64
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_member_is_told_to_end(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    """And to go on; only an instance ends itself, by a mark that root sees."""
    meeting.publish(stop=True)
    meeting.follow(monkeypatch, 1)
    mark = meeting.node.run_dir / "power-off"
    assert meeting.state == "stopped"
    assert (meeting.node.run_dir / "parked").exists()
    assert not mark.exists()
    meeting.publish()
    meeting.follow(monkeypatch, 1)
    assert not (meeting.node.run_dir / "parked").exists()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    lost = replace(meeting.known, state="lost", instance=True)
    rendezvous.obey(meeting.node, meeting.known, Look(lost), LOG)
    assert mark.exists()


def test_a_store_that_is_gone(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the controller answers nothing happens; without both the member is lost, and found again."""
    meeting.follow(monkeypatch, 1)
    kept = dict(meeting.store.objects)
    meeting.store.objects.clear()
    meeting.follow(monkeypatch, 40, alive=True)
    assert meeting.state == "held"
    meeting.follow(monkeypatch, 40)
    assert meeting.state == "lost"
    meeting.store.objects.update(kept)
    meeting.follow(monkeypatch, 1)
    assert meeting.state == "held"


def test_joining_again_is_not_undone(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written while a question was waiting for its answer stays."""
    other = replace(meeting.known, joined=99)

    def fetch(url: str, etag: str = "", wait: int = 0) -> Answer:
        del wait
        if meeting.known != other:
            member_record.save(Path(meeting.node.home), other)
        return meeting.store.get_url(url, etag)

    monkeypatch.setattr(meeting.store, "get_url", meeting.store.get_url)
    monkeypatch.setattr(rendezvous, "Actor", lambda _: _Files())
    monkeypatch.setattr(rendezvous, "fetch", fetch)

    def sleep(_: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        rendezvous.follow(meeting.node, LOG, Clock(lambda: NOW, sleep, lambda: 0.5))
    assert meeting.known.joined == 99


def test_the_controllers_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves where the controller listens, publishes, and after a failure does it again."""
    made = replace(node(), home=str(tmp_path), profile_dir=str(tmp_path), rendezvous="owner")
    with owner.held(tmp_path, "a test"):
        owner.begin(tmp_path, Place(address="127.0.0.1", port=free_block(1)[0]))
    offers: list[object] = [CncpError("nothing there yet", "wait"), OFFER, OFFER, OFFER]

    def offer(_: Node) -> object:
        found = offers.pop(0) if len(offers) > 1 else offers[0]
        if isinstance(found, CncpError):
            raise found
        return found

    monkeypatch.setattr(rendezvous, "installed", lambda _: made)
    monkeypatch.setattr(offering, "offer", offer)
    monkeypatch.setattr(rendezvous, "_RETRY", 0.0)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    service = threading.Thread(target=rendezvous.keep, args=(made, LOG), daemon=True)
    service.start()
    record = owner.load(tmp_path)
    assert record is not None
    seed = publish_join(offering.store(tmp_path, record), tmp_path, OFFER, new_batch(), lifetime=3600, settings={})
    assert inviting.prove(seed) == ""
    assert wait_until(lambda: bool((owner.load(tmp_path) or record).renewed), 20)
    owner.path(tmp_path).unlink()
    service.join(20)
    assert not service.is_alive()
