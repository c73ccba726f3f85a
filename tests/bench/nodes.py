"""Point `nodes`: a thousand nodes at one cidd, beside Python's own server, which answers each with the same bytes.

The nodes are one process, which says what a machine, Blancmange and cidkid say; it is the same for both servers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cncp import ports
from cncp.netboot import cidkid, messages
from cncp.netboot.boot_script import boot_script
from cncp.netboot.messages import BOOT, PURPOSE, SERIAL, SIGNATURE, Task
from cncp.netboot.node_states import Node
from cncp.rendezvous import certificate
from cncp.waiting import wait_until
from tests.bench import ROOT, processes
from tests.bench.results import Row
from tests.bench.site import BenchError
from tests.bench.start import Options
from tests.netboot.loopback_site import NEW, OLD, Site

_NODES = 1000
_AT_ONCE = 64  # connections; those that wait for a task are all open
_REPORTS = (
    *(("blancmange", 0), ("partition", 0), ("queued", 0), ("fetch", 25), ("fetch", 50), ("fetch", 75)),
    *(("verify", 0), ("unpack", 0), ("boot", 0)),
)
"""What Blancmange says on its way, with the percentage."""
_LISTINGS = 10
_PATIENCE = 60.0  # s

_CANNED = """
import http.server, ssl, sys, threading
from pathlib import Path
folder, certificate = map(Path, sys.argv[1:3])
told = threading.Event()

class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        where = self.path.partition("?")[0].rpartition("/")[2]
        if "wait=" in self.path:
            told.wait()
        path = folder / where
        content = path.read_bytes() if path.exists() else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def do_PUT(self):
        if self.path.endswith("/2"):
            told.set()
        self.do_POST()
    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

class Secure(Server):
    def finish_request(self, request, address):
        # In the thread of the request, not before it.
        super().finish_request(context.wrap_socket(request, server_side=True), address)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
plain, secure = (kind(("127.0.0.1", int(port)), Handler) for kind, port in zip((Server, Secure), sys.argv[3:]))
threading.Thread(target=plain.serve_forever, daemon=True).start()
secure.serve_forever()
"""


_BLIND = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_BLIND.check_hostname, _BLIND.verify_mode = False, ssl.CERT_NONE


@dataclass(frozen=True)
class _Server:
    """One that is measured: its ports for nodes that boot and for all else, its process, the token of people."""

    plain: int
    secure: int
    pid: int
    token: str = ""

    async def say(self, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        """Return what it answers a node that boots."""
        return await _ask(self.plain, None, method, target, body, headers)

    async def say_safely(self, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        """Return what it answers over TLS."""
        return await _ask(self.secure, _BLIND, method, target, body, headers)

    async def tell(self, method: str, target: str, body: object = None) -> bytes:
        """Return what it answers people and jobs."""
        content = json.dumps(body).encode() if body else b""
        return await self.say_safely(method, target, content, Authorization=f"Bearer {self.token}")


async def _ask(
    port: int, context: ssl.SSLContext | None, method: str, target: str, body: bytes, headers: Mapping[str, str]
) -> bytes:
    """Return the answer, asked for by a connection of its own, as nodes do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    lines = [f"{method} {target} HTTP/1.0", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    writer.write("\r\n".join((*lines, "", "")).encode() + body)
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise BenchError(f"{method} {target}: {head!r} {content!r}")
    return content


class _Node:
    """A machine, and what runs on it."""

    def __init__(self, number: int) -> None:
        self.mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
        self.uuid = f"{number:08x}-0000-0000-0000-000000000000"
        self.name, self._key, self._serial = f"n{number}", b"", 0

    async def begin(self, server: _Server) -> None:
        """Ask for a boot script."""
        script = (await server.say("GET", f"/v1/boot?mac={self.mac}&uuid={self.uuid}")).decode()
        if found := re.search(r"key=([0-9a-f]+)", script):
            self._key = found[1].encode()

    async def report(self, server: _Server, state: str, percent: int) -> None:
        """Say where Blancmange is."""
        body = json.dumps({"state": state, "percent": percent}).encode()
        target = f"/v1/nodes/{self.name}/report"
        await server.say("POST", target, body, **self._proof(self._key, BOOT, "POST", target, body))

    async def announce(self, server: _Server) -> None:
        """Say that the image runs."""
        body = json.dumps({"state": "alive", "image": OLD}).encode()
        await self._agent(server, "POST", "report", body)

    async def wait(self, server: _Server) -> None:
        """Wait for something to do."""
        await self._agent(server, "GET", f"task?wait={_PATIENCE:.0f}")

    async def _agent(self, server: _Server, method: str, path: str, body: bytes = b"") -> None:
        target, key = f"/v1/nodes/{self.name}/{path}", messages.session_key(self._key, OLD)
        await server.say_safely(method, target, body, **self._proof(key, OLD, method, target, body))

    def _proof(self, key: bytes, purpose: str, method: str, target: str, body: bytes) -> dict[str, str]:
        self._serial += 1
        signed = cidkid.signature(key, method, target, self._serial, body)
        return {SERIAL: str(self._serial), PURPOSE: purpose, SIGNATURE: signed}


@dataclass(frozen=True)
class _Taken:
    """What was measured of one server: s for all nodes, or each, and MB."""

    scripts: float
    reports: float
    report: Sequence[float]
    hello: Sequence[float]
    listing: float
    told: float
    memory: float


async def _measured(server: _Server) -> _Taken:
    nodes, line = [_Node(number) for number in range(1, _NODES + 1)], asyncio.Semaphore(_AT_ONCE)

    async def timed(work: Awaitable[object]) -> float:
        async with line:
            began = time.monotonic()
            await work
            return time.monotonic() - began

    async def all_of(works: Iterable[Awaitable[object]]) -> list[float]:
        return await asyncio.gather(*map(timed, works))

    async def way(node: _Node) -> list[float]:
        return [await timed(node.report(server, state, percent)) for state, percent in _REPORTS]

    began = time.monotonic()
    await all_of(node.begin(server) for node in nodes)
    scripts = time.monotonic() - began
    await all_of(
        server.tell("POST", f"/v1/nodes/node-{node.mac.replace(':', '')}?name={node.name}", {}) for node in nodes
    )
    await server.tell("PUT", "/v1/jobs/1", {"nodes": [node.name for node in nodes], "image": OLD, "timeout": 3600})
    await all_of(node.begin(server) for node in nodes)
    began = time.monotonic()
    report = list(itertools.chain(*await asyncio.gather(*map(way, nodes))))
    reports = time.monotonic() - began
    hello = await all_of(node.announce(server) for node in nodes)
    listing = statistics.median([await timed(server.tell("GET", "/v1/nodes")) for _ in range(_LISTINGS)])
    waiting = [asyncio.create_task(node.wait(server)) for node in nodes]
    process = psutil.Process(server.pid)
    while len(process.net_connections("tcp")) < _NODES:
        await asyncio.sleep(0.05)
    began = time.monotonic()
    await server.tell("PUT", "/v1/jobs/2", {"nodes": [node.name for node in nodes], "image": NEW, "timeout": 3600})
    await asyncio.gather(*waiting)
    told = time.monotonic() - began
    return _Taken(scripts, reports, report, hello, listing, told, processes.peak(server.pid))


def nodes(options: Options) -> list[Row]:
    """Measure nodes from their first boot script to the next job, and what the server's memory came to."""
    against = "ThreadingHTTPServer"
    rows = [
        (Row("nodes", label, unit, against), take)
        for label, unit, take in (
            (f"{_NODES} boot scripts", "s", lambda taken: taken.scripts),
            (f"{_NODES * len(_REPORTS)} reports", "s", lambda taken: taken.reports),
            ("a report, median", "ms", lambda taken: 1000 * statistics.median(taken.report)),
            ("a report, 99 of 100", "ms", lambda taken: 1000 * _late(taken.report)),
            ("a hello over TLS, median", "ms", lambda taken: 1000 * statistics.median(taken.hello)),
            ("a hello over TLS, 99 of 100", "ms", lambda taken: 1000 * _late(taken.hello)),
            ("the list of all nodes", "ms", lambda taken: 1000 * taken.listing),
            (f"{_NODES} that wait are told", "s", lambda taken: taken.told),
            ("memory of the server", "MB", lambda taken: taken.memory),
        )
    ]
    for _ in range(options.repetitions):
        busy = processes.wait_for_quiet(options.patience)
        with tempfile.TemporaryDirectory() as folder:
            with _cidd(Path(folder)) as server:
                ours = asyncio.run(_measured(server))
            with _canned(Path(folder)) as server:
                theirs = asyncio.run(_measured(server))
        for row, take in rows:
            row.busy.append(busy)
            row.ours.append(take(ours))
            row.theirs.append(take(theirs))
    return [row for row, _ in rows]


def _late(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]


@contextmanager
def _cidd(folder: Path) -> Iterator[_Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "bootstrap"))
        (folder / "cidd").mkdir()
        site = Site(folder / "cidd", at_once=_NODES)
        try:
            yield _Server(site.ports[1], site.ports[0], site.cidd.pid, site.place.token())
        finally:
            site.end()


@contextmanager
def _canned(folder: Path) -> Iterator[_Server]:
    answers, program = folder / "answers", folder / "canned.py"
    answers.mkdir()
    certificate.ensure(answers, "bench")
    known = [
        Node(
            f"n{number}",
            "52:54:00:00:00:01",
            f"{0:08x}-0000-0000-0000-{0:012x}",
            "alive",
            1.5,
            1.5,
            OLD,
            OLD,
            "1",
            (OLD,),
        )
        for number in range(_NODES)
    ]
    (answers / "boot").write_text(boot_script("127.0.0.1:1", known[0], "0" * 32, ""))
    (answers / "report").write_text(json.dumps(Task("install", OLD).to_json()))
    (answers / "nodes").write_text(json.dumps([node.to_json() for node in known]))
    program.write_text(_CANNED)
    plain, secure = ports.free_block(2)
    argv = [sys.executable, str(program), str(answers), str(certificate.path(answers)), str(plain), str(secure)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
        try:
            if not wait_until(lambda: not ports.is_free(plain) and not ports.is_free(secure), _PATIENCE):
                raise BenchError("it does not listen")
            yield _Server(plain, secure, server.pid)
        finally:
            server.terminate()
