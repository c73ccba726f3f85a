"""What cidd knows, in one SQLite file: nodes, what happened to them, what jobs asked for, keys.

A change and the event that says so are one transaction, so that a cidd that is killed at any moment goes on from a
state that its trace has. Write-ahead logging lets others read meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.field_types import Text
from cncp.netboot.image_name import ImageName
from cncp.netboot.node_states import JobName, Node, NodeName, NoImage, State
from cncp.records import Record

_FORMAT = 3

_TABLES = """
CREATE TABLE IF NOT EXISTS nodes (name TEXT PRIMARY KEY, mac TEXT NOT NULL, uuid TEXT NOT NULL, record TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS hardware ON nodes (mac, uuid);
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS of_node ON events (node, number);
CREATE TABLE IF NOT EXISTS captures (job TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (node TEXT NOT NULL, purpose TEXT NOT NULL, secret BLOB NOT NULL,
    serial INTEGER NOT NULL, PRIMARY KEY (node, purpose));
CREATE TABLE IF NOT EXISTS rendezvous (job TEXT PRIMARY KEY, document TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Event(Record):
    """Something that happened to a node, and what it was after that. ``when`` is in s since the epoch."""

    when: float
    node: NodeName
    state: State
    image: ImageName | NoImage = ""
    job: JobName = ""
    text: Text = ""


@dataclass(frozen=True)
class Capture(Record):
    """What a job asked for: nodes in an image, until ``deadline`` (s since the epoch), and whether it holds them."""

    job: JobName
    nodes: tuple[NodeName, ...]
    image: ImageName
    deadline: float
    hold: bool = False


@dataclass(frozen=True)
class Key:
    """A secret that a node shares with cidd, and the highest serial it was used with."""

    secret: bytes
    serial: int


class NodeDb:
    """The file, open, with all nodes and jobs in memory. Used by one thread, and by nobody else for writing."""

    def __init__(self, path: Path) -> None:
        """Open it, made if it is not there. Raises CncpError for what is no such file, or a newer one."""
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._begin(path)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise CncpError(
                f"{path} is no database of nodes: {error}", "move it away and accept the nodes again"
            ) from None
        except CncpError:
            self._connection.close()
            raise

    def _begin(self, path: Path) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may take the last changes, a killed process none; either leaves what was whole before.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > _FORMAT:
            raise CncpError(f"{path} is of a later version of cncp", "use that version, or move the file away")
        if version < _FORMAT:
            with self.transaction():
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
        self._read()

    def _read(self) -> None:
        """Have in memory what is in the file."""
        nodes = [Node.from_json(row, "a node") for (row,) in self._connection.execute("SELECT record FROM nodes")]
        jobs = [Capture.from_json(row, "a job") for (row,) in self._connection.execute("SELECT record FROM captures")]
        self._nodes = {node.name: node for node in nodes}
        self._captures = {capture.job: capture for capture in jobs}
        self._rendezvous: dict[str, str] = dict(self._connection.execute("SELECT job, document FROM rendezvous"))

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Have all that is written inside be written, or nothing of it. They do not nest."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._read()
            raise
        self._connection.execute("COMMIT")

    def nodes(self) -> list[Node]:
        """Return all nodes, in the order in which they came."""
        return list(self._nodes.values())

    def node(self, name: str) -> Node | None:
        """Return a node."""
        return self._nodes.get(name)

    def by_hardware(self, mac: str, uuid: str) -> Node | None:
        """Return the node that has this hardware."""
        row = self._connection.execute("SELECT name FROM nodes WHERE mac = ? AND uuid = ?", (mac, uuid)).fetchone()
        return self._nodes[row[0]] if row else None

    def save(self, node: Node, event: Event | None) -> None:
        """Write a node, and what has happened to it if that is worth keeping. Within a transaction."""
        self._connection.execute(
            "INSERT INTO nodes VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET mac = excluded.mac, "
            "uuid = excluded.uuid, record = excluded.record",
            (node.name, node.mac, node.uuid, json.dumps(node.to_json())),
        )
        self._nodes[node.name] = node
        if event is not None:
            row = (node.name, json.dumps(event.to_json()))
            self._connection.execute("INSERT INTO events (node, record) VALUES (?, ?)", row)

    def forget(self, name: str) -> None:
        """Take out a node, with its keys; what happened to it stays. Within a transaction."""
        self._connection.execute("DELETE FROM nodes WHERE name = ?", (name,))
        self._connection.execute("DELETE FROM keys WHERE node = ?", (name,))
        del self._nodes[name]

    def events(self, node: str, after: int = 0, most: int = 1000) -> list[tuple[int, Event]]:
        """Return what happened to a node after an event's number, oldest first, each with its number."""
        rows = self._connection.execute(
            "SELECT number, record FROM events WHERE node = ? AND number > ? ORDER BY number LIMIT ?",
            (node, after, most),
        )
        return [(number, Event.from_json(record, "an event")) for number, record in rows]

    def captures(self) -> list[Capture]:
        """Return what jobs have asked for and not let go."""
        return list(self._captures.values())

    def capture(self, job: str) -> Capture | None:
        """Return what a job has asked for."""
        return self._captures.get(job)

    def keep(self, capture: Capture) -> None:
        """Write what a job asks for. Within a transaction."""
        self._connection.execute(
            "INSERT OR REPLACE INTO captures VALUES (?, ?)", (capture.job, json.dumps(capture.to_json()))
        )
        self._captures[capture.job] = capture

    def let_go(self, job: str) -> None:
        """Forget what a job asked for, and what its engines join by. Within a transaction."""
        self._connection.execute("DELETE FROM captures WHERE job = ?", (job,))
        self._connection.execute("DELETE FROM rendezvous WHERE job = ?", (job,))
        self._captures.pop(job, None)
        self._rendezvous.pop(job, None)

    def rendezvous(self, job: str) -> str:
        """Return the document that a job's engines join by, "" where there is none."""
        return self._rendezvous.get(job, "")

    def keep_rendezvous(self, job: str, document: str) -> None:
        """Write the document that a job's engines join by. Within a transaction."""
        self._connection.execute("INSERT OR REPLACE INTO rendezvous VALUES (?, ?)", (job, document))
        self._rendezvous[job] = document

    def key(self, node: str, purpose: str) -> Key | None:
        """Return the key that a node has for a purpose: ``boot``, or the name of an image."""
        row = self._connection.execute(
            "SELECT secret, serial FROM keys WHERE node = ? AND purpose = ?", (node, purpose)
        ).fetchone()
        return Key(*row) if row else None

    def give_key(self, node: str, purpose: str, secret: bytes) -> None:
        """Give a node a new key, in place of the one it had. Within a transaction."""
        self._connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, 0)", (node, purpose, secret))

    def take_key(self, node: str, purpose: str) -> None:
        """Have a key be worth nothing from now on. Within a transaction."""
        self._connection.execute("DELETE FROM keys WHERE node = ? AND purpose = ?", (node, purpose))

    def used(self, node: str, purpose: str, serial: int) -> bool:
        """Note that a key was used with a serial; False where it was with a higher one before."""
        done = self._connection.execute(
            "UPDATE keys SET serial = ? WHERE node = ? AND purpose = ? AND serial < ?", (serial, node, purpose, serial)
        )
        return done.rowcount == 1


def nodes_in(path: Path) -> list[Node]:
    """Return the nodes that a file has, which cidd may be writing meanwhile; none where there is no file.

    Raises CncpError for what is no such file.
    """
    if not path.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT record FROM nodes").fetchall()
    except sqlite3.Error as error:
        raise CncpError(f"{path} is no database of nodes: {error}", "see whether cidd runs, and its log") from None
    return [Node.from_json(record, "a node") for (record,) in rows]
