"""Joining and being joined, on one machine: what is refused, who is dialled, what waits, what is found wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cncp import pidfile
from cncp.config.rendezvous_table import RendezvousTable
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.files import to_json
from cncp.ipp import hub
from cncp.ipp.connection_file import EngineFile
from cncp.machine import offering, parking, parking_mark, seeds
from cncp.machine.node import NODE, Node, node_path
from cncp.machine.ops import inviting, joined_engines, joining, meeting_findings, steps
from cncp.rendezvous import member_record, owner
from cncp.rendezvous.documents import Access, Body, Refused, Seed, new_key
from cncp.rendezvous.owner import Place
from cncp.rendezvous.publishing import lease_key
from cncp.rendezvous.stores.folder import FolderStore
from tests.unit.machine.test_choices import node
from tests.unit.rendezvous.cluster import ENGINE, OFFER

SEED = Seed(cluster="a" * 16, batch="b" * 16, join="https://127.0.0.1:9/x", key=new_key(), deadline=2**31)
ACCESS = Access(url="https://x/y", key=new_key(), generation=1, serial=1, expires=2**31)


BODY = Body("a" * 16, 2, 0, 2**31, OFFER, ACCESS)


def engine_file(**changes: Any) -> EngineFile:
    """Return an engines' connection file whose controller is elsewhere."""
    return EngineFile.from_json({**ENGINE, **changes}, "it")


def here(made: Node, folder: Path) -> Node:
    """Return a node whose home is ``folder``, as the last run has left it."""
    found = replace(made, home=str(folder))
    found.run_dir.mkdir(exist_ok=True)
    node_path(folder).write_bytes(to_json(found))
    return found


@contextmanager
def listening() -> Iterator[int]:
    """Listen on a port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_controller_is_dialled_at_all_its_addresses() -> None:
    """Its own name may mean nothing elsewhere; the first that answers is told."""
    with listening() as port:
        found = engine_file(location="no-such-host.invalid", names=["127.0.0.1"], registration=port)
        assert joining.dial(found) == f"127.0.0.1:{port}"


def test_a_controller_that_starts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its document may be there before it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun: list[socket.socket] = []
    monkeypatch.setattr(time, "sleep", lambda _: begun.append(socket.create_server(("127.0.0.1", port))))
    try:
        assert joining.dial(engine_file(location="127.0.0.1", names=[], registration=port)) == f"127.0.0.1:{port}"
    finally:
        for late in begun:
            late.close()


def test_a_firewall_in_between_is_said_before_anything_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines would only wait; the message has the port, all addresses, and who can open it."""
    monkeypatch.setattr(joining, "_LISTENS", 0.0)
    with listening() as port:
        pass
    with pytest.raises(CncpError) as refused:
        joining.dial(engine_file(location="127.0.0.1", names=["no-such-host.invalid"], registration=port))
    assert f"port {port} of 127.0.0.1, no-such-host.invalid" in refused.value.message
    assert "cncp firewall" in refused.value.hint


def test_two_machines_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their engines would throw one another out of the cluster: the second is refused."""
    registered = ["desk-7_0_0123456789ab", "other.engine"]
    monkeypatch.setattr(joining, "asked", lambda *_: registered)
    joining.insist_on_name(engine_file(), "desk-8")
    with pytest.raises(CncpError, match="called desk-7 as well"):
        joining.insist_on_name(engine_file(), "desk-7")
    monkeypatch.setattr(joining, "asked", lambda *_: None)
    joining.insist_on_name(engine_file(), "desk-7")


def test_nobody_answers() -> None:
    """Neither an empty file nor a closed port is an error."""
    assert hub.asked(None, lambda found: found.engines()) is None
    closed = engine_file(interface="tcp://127.0.0.1", registration=9, curve_serverkey=None)
    assert hub.asked(closed, lambda found: found.engines(0.1)) is None


@pytest.mark.parametrize(
    ("flags", "rendezvous", "said"),
    [
        ({}, "", "a cluster of its own"),
        ({"role": "engine"}, "", "engines that another machine has set up"),
    ],
)
def test_a_home_that_is_taken(tmp_path: Path, flags: dict[str, Any], rendezvous: str, said: str) -> None:
    """Is not turned into something else by a paste."""
    here(node(engines="1", **flags), tmp_path)
    with pytest.raises(UsageError, match=said):
        seeds.insist(SEED, tmp_path)
    assert rendezvous == member_record.role(tmp_path)


def test_a_home_of_a_newer_version(tmp_path: Path) -> None:
    """Is as little to be written over by a joining as by anything else."""
    path = NODE.path(tmp_path)
    path.write_bytes(NODE.content(node(engines="1")).replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(CncpError, match="its format is 2"):
        seeds.insist(SEED, tmp_path)
    with pytest.raises(CncpError, match="its format is 2"):
        steps.former(tmp_path)
    path.write_bytes(b"{")
    assert (seeds.insist(SEED, tmp_path), steps.former(tmp_path)) == (None, None)


def test_joining_again_and_elsewhere(tmp_path: Path) -> None:
    """The same cluster again is no matter; another one is refused, by name."""
    here(node(role="engine", engines="1"), tmp_path)
    member_record.save(tmp_path, member_record.of_join(BODY, 0.0, None, instance=False))
    known = seeds.insist(SEED, tmp_path)
    assert known is not None
    assert known.cluster == SEED.cluster
    with pytest.raises(UsageError, match=r"has joined the cluster a{16}, and the seed is of c{16}"):
        seeds.insist(replace(SEED, cluster="c" * 16), tmp_path)


def test_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file, from standard input, or the one that waits; its time is looked at first."""
    file = tmp_path / "seed.txt"
    file.write_text(SEED.to_json())
    assert seeds.read(str(file), tmp_path) == SEED
    with file.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert seeds.read("-", tmp_path) == SEED
    seeds.keep(SEED, tmp_path / "home")
    assert seeds.path(tmp_path / "home").stat().st_mode & 0o777 == 0o600
    assert seeds.read("", tmp_path / "home") == SEED
    with pytest.raises(UsageError, match="there is no seed"):
        seeds.read("", tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        seeds.read(str(tmp_path), tmp_path)
    with pytest.raises(Refused, match="the invitation expired"):
        seeds.insist(replace(SEED, deadline=1000), tmp_path)
    # Nobody is there yet, which is nothing to give up for.
    seeds.insist_on_answer(SEED)


def test_engines_wait_behind_a_mark(tmp_path: Path) -> None:
    """Those that run are ended once, and are begun again by what keeps them; without the mark nothing is held."""
    made = here(node(role="engine", engines="1"), tmp_path)
    known = member_record.of_join(BODY, 0.0, None, instance=False)
    parking_mark.wait(made.run_dir)

    def engine() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pidfile.write(made.run_dir, "engine-0", pid=process.pid)
        return process

    first = engine()
    parking.settle(made, known, anew=False)
    assert first.poll() is None
    parking.settle(made, replace(known, state="lost", why="nobody is there"), anew=False)
    assert first.wait(10) == -15
    assert parking_mark.mark(made.run_dir).read_text() == "nobody is there"
    second = engine()
    parking.settle(made, replace(known, state="lost", why="nobody is there"), anew=False)
    assert second.poll() is None
    parking.settle(made, replace(known, state="moved"), anew=True)
    assert second.wait(10) == -15
    assert not parking_mark.mark(made.run_dir).exists()


def test_drained_engines_end_when_they_are_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever computes goes on to the end; who has come back waits."""
    made = here(node(role="engine", engines="1"), tmp_path)
    drained = replace(member_record.of_join(BODY, 0.0, None, instance=False), state="drained")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pidfile.write(made.run_dir, "engine-0", pid=process.pid)
    busy = {"engine-0": True}
    monkeypatch.setattr("cncp.machine.ops.busy_engines.busy", lambda _: busy)
    time.sleep(0.05)
    parking.settle(made, drained, anew=False)
    parking.settle(made, drained, anew=False)
    assert process.poll() is None
    busy.clear()
    parking.settle(made, drained, anew=False)
    assert process.wait(10) == -15


def test_who_can_invite(tmp_path: Path) -> None:
    """A machine with a controller that others reach."""
    with pytest.raises(UsageError, match="listens on loopback"):
        inviting.insist(node())
    with pytest.raises(UsageError, match="has no controller"):
        inviting.insist(node(role="engine", engines="1"))
    with pytest.raises(CncpError, match="no keys yet"):
        inviting.insist(replace(node(listen="all"), profile_dir=str(tmp_path)))


def test_addresses() -> None:
    """What was set comes first, then what this machine has; one address where it listens on one."""
    assert offering.addresses(node(listen="all", external="gold.example.org"))[0] == "gold.example.org"
    assert offering.addresses(node(listen="192.0.2.7"))[0] == "192.0.2.7"
    assert not [address for address in offering.addresses(node(listen="all")) if address.startswith("127.")]


def test_an_offer_is_what_engines_need(tmp_path: Path) -> None:
    """The connection file with other names of the controller, and no setting of this machine's own."""
    made = replace(node(listen="all", threads="2"), profile_dir=str(tmp_path))
    made.security_dir.mkdir()
    (made.security_dir / "ipcontroller-engine.json").write_text(json.dumps(ENGINE))
    found = offering.offer(made)
    assert set(found.settings) == {"encryption", "heartbeat", "tolerance"}
    assert found.engine["location"] == "gold1"
    names: Any = found.engine["names"]
    assert set(names) == set(found.addresses) - {"gold1"}


def test_what_check_says(tmp_path: Path) -> None:
    """Of a member that is lost or waits, and of leases that nobody could write."""
    member = here(replace(node(role="engine", engines="1"), rendezvous="member"), tmp_path)
    known = member_record.of_join(BODY, 0.0, None, instance=False)
    said = {"held": "", "lost": "has lost its cluster", "stopped": "the engines wait: as told"}
    for state, expected in said.items():
        member_record.save(tmp_path, replace(known, state=state, why="as told"))  # type: ignore[arg-type]
        told = "".join(message for message, _ in meeting_findings.findings(member))
        assert told.count(expected or "x") == bool(expected)
    home = replace(here(node(listen="all"), tmp_path), rendezvous="owner")
    with owner.held(tmp_path, "a test"):
        record = owner.begin(tmp_path, Place("s3://lab/x"))
    assert [message for message, _ in meeting_findings.findings(home)] == [
        "machines that have joined hear nothing new: no lease could be written to s3://lab/x"
    ]
    owner.save(tmp_path, replace(record, renewed=int(time.time())))
    assert list(meeting_findings.findings(home)) == []
    owner.path(tmp_path).write_text("[]")
    assert "is damaged" in next(meeting_findings.findings(home))[0]


def test_nobody_has_joined(tmp_path: Path) -> None:
    """Where nobody was invited, or no controller answers, there are no engines of others."""
    made = replace(here(node(), tmp_path), profile_dir=str(tmp_path))
    assert joined_engines.of(made) == []
    assert joined_engines.of(replace(made, rendezvous="owner")) == []
    assert inviting.invitations(tmp_path) == []
    with pytest.raises(UsageError, match="there is no invitation"):
        inviting.withdraw(tmp_path, "abc")


def test_services_of_both_sides() -> None:
    """There is one where machines join, or have joined, and there alone; new keys restart no member's services."""
    assert "rendezvous" not in node().services
    assert replace(node(), rendezvous="owner").services[-1] == "rendezvous"
    assert replace(node(role="engine", engines="1"), rendezvous="member").services == ("engine-0", "rendezvous")
    assert "rendezvous" not in replace(node(role="engine", engines="1"), rendezvous="owner").services
    stored = {**replace(node(), rendezvous="owner").to_json(), "rendezvous": "other"}
    with pytest.raises(CncpError, match="rendezvous"):
        Node.from_json(json.loads(json.dumps(stored, default=os.fspath)), "it")


def test_a_store_that_fails_is_in_no_revocations_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The generation is another one before the store is asked: nobody of before is given the new keys."""
    made = replace(here(node(listen="all"), tmp_path), rendezvous="owner")
    with owner.held(tmp_path, "a test"):
        before = owner.begin(tmp_path, Place("file:///no/such/folder"))
    inviting.shut_out(made, Console())
    after = owner.load(tmp_path)
    assert after is not None
    assert (after.generation, after.lease_key == before.lease_key) == (2, False)
    inviting.tell(made, "stop", Console())
    inviting.forget(made, Console())
    said = capsys.readouterr().err
    assert said.count("warning: documents are left in the store: rendezvous: store = ") == 2
    assert "warning: machines that have joined were not told" in said


def test_nothing_is_left_in_any_store(tmp_path: Path) -> None:
    """Nor in one that was named before: a file that names another one tells nobody who has joined."""
    made = replace(here(node(listen="all"), tmp_path), rendezvous="owner")
    places = [tmp_path / "former", tmp_path / "shared"]
    for place in places:
        place.mkdir()
        record = inviting.begin(made, RendezvousTable(store=place.as_uri()))
        FolderStore(place).put(lease_key(record.cluster, 1), b"sealed")
    FolderStore(places[0]).put(lease_key("f" * 16, 1), b"another cluster's")
    inviting.forget(made, Console())
    assert [path.parent.name for place in places for path in place.rglob("*.json")] == ["f" * 16]
    assert owner.load(tmp_path) is None


def test_the_port_to_meet_at(tmp_path: Path) -> None:
    """In the range that is set, which a firewall may let through; it stays over invitations."""
    made = here(node(listen="all", ports="31000-31040"), tmp_path)
    first = inviting.begin(made, RendezvousTable())
    assert 31000 <= first.place.port <= 31040
    again = inviting.begin(made, RendezvousTable(), "gold.example.org")
    assert (again.place.port, again.place.address) == (first.place.port, "gold.example.org")
    assert inviting.begin(made, RendezvousTable()).place == again.place, "machines were told to come there"
    assert inviting.begin(made, RendezvousTable(), "auto").place == first.place
    assert inviting.begin(made, RendezvousTable(store="file:///shared", poll=5)).poll == 5


def test_invitations_stand_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    """Those of the same second as well, whatever their batches are called and the file sorts."""
    with owner.held(tmp_path, "a test"):
        record = owner.begin(tmp_path, Place(address="127.0.0.1", port=1))
        now = time.time()
        for number, batch in enumerate(("f", "7", "0")):
            made = owner.Invitation(new_key(), now + number / 8, int(now) + 3600, {}, note=batch)
            record = owner.save(tmp_path, record.with_invitation(batch * 16, made))
    assert [found.note for found in inviting.invitations(tmp_path)] == ["f", "7", "0"]
