"""A cidd of a test's, over loopback or a bridge, with nodes that are threads."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cncp import ports
from cncp.netboot.cidcapt import Access, CiddClient, RefusedError
from cncp.netboot.cidd import Place, Settings
from cncp.netboot.image_store import Manifest
from cncp.netboot.mkimg.archives import Format
from cncp.netboot.node_db import Event
from cncp.waiting import wait_until

from .fake_node import FakeNode

OLD, NEW, PACKED = "compute-1-0", "compute-1-1", "packed-1-0"
PATIENCE = 120  # s


def started(argv: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """Start a program that ends with this thread."""
    with log.open("ab") as stream:
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdout=stream, stderr=stream)


class CiddFolder:
    """What a cidd keeps, and who is let in by it."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)

    @property
    def access(self) -> Access:
        """How it is reached, once it has been begun."""
        return Access.from_json(self.place.access.read_bytes(), "cidcapt.json")

    @property
    def client(self) -> CiddClient:
        """Who has the token."""
        return CiddClient(self.access)

    def answers(self) -> bool:
        """Tell whether it answers."""
        try:
            self.client.ask("GET", "/v1/images")
        except (OSError, RefusedError):
            return False
        return True


class Site(CiddFolder):
    """A cidd of this test's, and nodes that are threads.

    ``address`` is what they reach it by, ``at_once`` how many may fetch at a time.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", at_once: int = 16) -> None:
        super().__init__(folder)
        self.address = address
        self.ports = ports.free_block(2)
        self.settings = folder / "cidd.json"
        self.settings.write_text(
            json.dumps(Settings(str(folder), address, self.ports[0], self.ports[1], at_once).to_json())
        )
        self.stop = threading.Event()
        self.nodes: list[FakeNode] = []
        self._threads = ThreadPoolExecutor(512)
        images, key = self.place.images(), self.place.signing_key()
        for name in (OLD, NEW, PACKED):
            form: Format = "squashfs" if name == PACKED else "tar.zst"
            with (folder / "cidd.json").open("rb") as content:
                images.add(Manifest(name, form, 1.0, (images.add_blob("root", content),)), key)
        self.begin()

    def begin(self) -> None:
        """Start cidd, and wait until it answers."""
        argv = [sys.executable, "-m", "cncp.netboot.cidd", str(self.settings)]
        self.cidd = started(argv, self.place.folder / "cidd.log")
        assert wait_until(self.answers, 30), self.log()

    def log(self) -> str:
        """Return what it has said."""
        return (self.place.folder / "cidd.log").read_text()

    def switch_on(
        self,
        count: int,
        at: Callable[[FakeNode, str], None] = lambda _, __: None,
        kind: type[FakeNode] = FakeNode,
    ) -> None:
        """Have so many more nodes of a kind be switched on, and be accepted as n1, n2, ..."""
        access, plain = self.access, f"http://{self.address}:{self.ports[1]}"
        first = len(self.nodes) + 1
        for number in range(first, first + count):
            node = kind(number, plain, access.url, access.fingerprint, self.stop, at)
            with urllib.request.urlopen(f"{plain}/v1/boot?{node.hardware}", timeout=30) as answer:
                found = re.search(r"echo (\S+) is unknown", answer.read().decode())
            assert found is not None
            self.client.ask("POST", f"/v1/nodes/{found[1]}?name=n{number}")
            self.nodes.append(node)
            self._threads.submit(node.run)

    def cidcapt(self, job: str, nodes: str, image: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        return subprocess.run(
            self.argv(job, nodes, image, *words), capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def argv(self, job: str, nodes: str, image: str, *words: str) -> list[str]:
        """Return the command."""
        access = f"--access={self.place.access}"
        return [sys.executable, "-m", "cncp.netboot.cidcapt", "-j", job, "-n", nodes, "-i", image, access, *words]

    def states(self) -> dict[str, str]:
        """Return where each node is."""
        return {node["name"]: node["state"] for node in json.loads(self.client.ask("GET", "/v1/nodes"))}

    def trace(self, name: str) -> list[str]:
        """Return the states that a node went through."""
        return [event["state"] for event in json.loads(self.client.ask("GET", f"/v1/nodes/{name}/events"))]

    def events(self) -> list[Event]:
        """Return what happened to all nodes, in the order in which cidd wrote it."""
        with contextlib.closing(sqlite3.connect(f"file:{self.place.folder}/nodes.db?mode=ro", uri=True)) as written:
            rows = written.execute("SELECT record FROM events ORDER BY number").fetchall()
        return [Event.from_json(record, "an event") for (record,) in rows]

    def end(self) -> None:
        """End everything."""
        self.stop.set()
        for node in self.nodes:
            node.works.set()
        self.cidd.terminate()
        assert self.cidd.wait(30) == 0, self.log()
        self._threads.shutdown()
        assert "Traceback" not in self.log(), self.log()
