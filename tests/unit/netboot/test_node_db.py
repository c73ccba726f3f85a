"""What cidd knows outlives it, whole: a change and what says so, or neither."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.messages import BOOT
from cncp.netboot.node_db import Capture, Event, NodeDb, nodes_in
from tests.unit.netboot.test_node_states import node

EVENT = Event(1.0, "n1", "alive", "compute-1-0", "7", "accepted")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[NodeDb]:
    """Return an empty one."""
    made = NodeDb(tmp_path / "nodes.db")
    yield made
    made.close()


def test_it_is_there_again(db: NodeDb, tmp_path: Path) -> None:
    """Nodes, events, jobs and keys, in a file for its owner alone."""
    capture = Capture("7", ("n1",), "compute-1-0", 10.0)
    with db.transaction():
        db.save(node(), EVENT)
        db.save(node(percent=5), None)
        db.keep(capture)
        db.give_key("n1", BOOT, b"secret")
    db.close()
    again = NodeDb(tmp_path / "nodes.db")
    assert again.nodes() == [node(percent=5)]
    assert again.by_hardware(node().mac, node().uuid) == node(percent=5)
    assert [event for _, event in again.events("n1")] == [EVENT]
    assert again.capture("7") == capture
    key = again.key("n1", BOOT)
    assert key is not None
    assert (key.secret, key.serial) == (b"secret", 0)
    assert stat.S_IMODE((tmp_path / "nodes.db").stat().st_mode) == 0o600
    again.close()


def test_all_or_nothing(db: NodeDb) -> None:
    """What fails in the middle has changed nothing, in memory either."""
    with db.transaction():
        db.save(node(), EVENT)

    def fails() -> None:
        with db.transaction():
            db.save(node("failed"), EVENT)
            db.give_key("n1", BOOT, b"secret")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert db.nodes() == [node()]
    assert len(db.events("n1")) == 1
    assert db.key("n1", BOOT) is None


def test_a_key_is_used_upwards(db: NodeDb) -> None:
    """A serial counts once, and none below it any more; a new key begins again; a node that is gone has none."""
    with db.transaction():
        db.save(node(), EVENT)
        db.give_key("n1", BOOT, b"secret")
    assert [db.used("n1", BOOT, serial) for serial in (5, 5, 4, 6)] == [True, False, False, True]
    db.give_key("n1", BOOT, b"other")
    assert db.used("n1", BOOT, 1)
    db.forget("n1")
    assert db.key("n1", BOOT) is None
    assert not db.used("n1", BOOT, 9)


def test_two_with_one_card(db: NodeDb) -> None:
    """Hardware is one node's."""
    with db.transaction():
        db.save(node(), EVENT)
    with pytest.raises(sqlite3.IntegrityError), db.transaction():
        db.save(replace(node(), name="n2"), replace(EVENT, node="n2"))
    assert db.nodes() == [node()]


def test_events_from_a_number_on(db: NodeDb) -> None:
    """What was read is not read again."""
    with db.transaction():
        for when in range(5):
            db.save(node(), replace(EVENT, when=float(when)))
    first = db.events("n1", most=2)
    assert [event.when for _, event in first] == [0.0, 1.0]
    assert [event.when for _, event in db.events("n1", after=first[-1][0])] == [2.0, 3.0, 4.0]
    assert db.events("n2") == []


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(80)])
def test_another_file(tmp_path: Path, content: bytes) -> None:
    """It is said to be none, and left as it is."""
    path = tmp_path / "nodes.db"
    path.write_bytes(content * 20)
    with pytest.raises(CncpError, match="no database of nodes"):
        NodeDb(path)
    assert path.read_bytes() == content * 20


def test_a_damaged_page(db: NodeDb, tmp_path: Path) -> None:
    """It is said as well, though the file begins as it should."""
    with db.transaction():
        db.save(node(), EVENT)
    db.close()
    path = tmp_path / "nodes.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(CncpError, match="no database of nodes"):
        NodeDb(path)


def test_a_later_format(db: NodeDb, tmp_path: Path) -> None:
    """It is not touched."""
    db.close()
    with sqlite3.connect(tmp_path / "nodes.db") as connection:
        connection.execute("PRAGMA user_version = 4")
    connection.close()
    with pytest.raises(CncpError, match="later version"):
        NodeDb(tmp_path / "nodes.db")


KILLED = """
import sys
from pathlib import Path
from cncp.netboot.node_db import NodeDb, Event
from tests.unit.netboot.test_node_states import node
db = NodeDb(Path(sys.argv[1]))
for number in range(10**9):
    with db.transaction():
        db.save(node(heard=float(number)), Event(float(number), "n1", "alive"))
    if number == 100:
        print("going", flush=True)
"""


def test_a_killed_writer(tmp_path: Path) -> None:
    """The node is as the last event says."""
    path = tmp_path / "nodes.db"
    roots = os.pathsep.join(str(Path(__file__).parents[depth]) for depth in (3,))
    environment = {**os.environ, "PYTHONPATH": f"{roots}{os.pathsep}{roots}/bootstrap"}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"going\n"
        writer.send_signal(signal.SIGKILL)
    db = NodeDb(path)
    number, last = db.events("n1", most=10**9)[-1]
    assert db.nodes()[0].heard == last.when == number - 1
    db.close()


def test_others_read_it(db: NodeDb, tmp_path: Path) -> None:
    """While cidd has it open, and after that; what is no database is an error, and what is not there has no nodes."""
    with db.transaction():
        db.save(node(), EVENT)
    assert nodes_in(tmp_path / "nodes.db") == [node()]
    db.close()
    assert nodes_in(tmp_path / "nodes.db") == [node()]
    assert nodes_in(tmp_path / "none.db") == []
    (tmp_path / "other").write_bytes(b"no database" * 100)
    with pytest.raises(CncpError, match="no database of nodes"):
        nodes_in(tmp_path / "other")
