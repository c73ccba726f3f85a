"""cidd's two servers: plain HTTP on the network where nodes boot, HTTPS for images, jobs and people.

What nodes load before they know any key is public, and held against a signed manifest; what they say of themselves is
signed with a key of their own. Jobs and people have a token. Tornado comes with IPython Parallel.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from cncp.errors import CncpError, UsageError
from cncp.files import read_bytes
from cncp.netboot import messages
from cncp.netboot.boot_script import boot_script
from cncp.netboot.image_store import ImageStore
from cncp.netboot.messages import BOOT, OUTCOMES, Report, Wish
from cncp.netboot.meters import Meters
from cncp.netboot.node_db import Event, NodeDb
from cncp.netboot.node_states import MAC_FORM, UUID_FORM, OutOfTurnError
from cncp.netboot.proof import DeniedError, Proof
from cncp.netboot.provisioner import Provisioner
from cncp.records import Misfit, as_json
from cncp.rendezvous.documents import Refused, Seed

T = TypeVar("T")

_LARGEST = 1 << 20  # bytes of a request: a job with 1024 nodes is 70 KB
_LONGEST_WAIT = 60.0  # s that an answer is held back until something changes
_BLOCK = 256 << 10  # bytes sent at a time
_EVERY = 1.0  # s between two looks for nodes that say nothing


class Changes:
    """What those wait for who asked to be told of a node, or of a job."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def tell(self, event: Event) -> None:
        """Have those look again whom an event may concern."""
        for name in (f"node {event.node}", f"job {event.job}"):
            for waiting in self._waiting.get(name, ()):
                waiting.set()

    async def until(self, name: str, look: Callable[[], T], enough: Callable[[T], bool], seconds: float) -> T:
        """Return what ``look`` gives once that is ``enough``, or after so many s."""
        deadline = time.monotonic() + min(seconds, _LONGEST_WAIT)
        waiting = asyncio.Event()
        self._waiting.setdefault(name, set()).add(waiting)
        try:
            while not enough(found := look()) and (left := deadline - time.monotonic()) > 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(waiting.wait(), left)
                waiting.clear()
        finally:
            self._waiting[name].discard(waiting)
            if not self._waiting[name]:
                del self._waiting[name]
        return found


@dataclass(frozen=True)
class Cidd:
    """What all requests are answered from. ``address`` is what nodes reach the plain server by, HOST:PORT."""

    provisioner: Provisioner
    db: NodeDb
    images: ImageStore
    changes: Changes
    blancmange: Path
    address: str
    token: str
    meters: Meters


class _Handler(RequestHandler):
    """Answers in JSON, errors too: what is wrong and what to do."""

    def initialize(self, cidd: Cidd) -> None:
        self.cidd = cidd

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def answer(self, value: object) -> None:
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(as_json(value)))

    def wait(self) -> float:
        """Return for how long the asker waits for a change, in s."""
        asked = re.fullmatch(r"[0-9]{1,3}", self.get_query_argument("wait", "0"))
        if asked is None:
            raise UsageError("wait is no number of seconds", "ask for 0 to 60")
        return float(asked[0])

    def write_error(self, status_code: int, **details: Any) -> None:
        error = details.get("exc_info", (None, None, None))[1]
        if isinstance(error, CncpError):
            self.set_status(_status(error))
            self.answer({"error": str(error), "hint": error.hint, "serial": getattr(error, "serial", 0)})
        else:
            self.answer({"error": HTTPStatus(status_code).phrase.lower(), "hint": ""})

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Have what we refuse be no fault of the server's."""
        if not isinstance(error, CncpError):
            super().log_exception(kind, error, trace)

    def proof(self, *, at_boot: bool = False) -> Proof:
        """Return how a node proves itself, by the key of a boot or of an image. Raises DeniedError without that."""
        serial = re.fullmatch(r"[0-9]{1,18}", self.request.headers.get(messages.SERIAL, ""))
        if serial is None:
            raise DeniedError("a request without a serial", "")
        purpose = self.request.headers.get(messages.PURPOSE, "")
        if (purpose == BOOT) != at_boot:
            raise DeniedError("that key is not for here", "")
        return Proof(
            purpose,
            int(serial[0]),
            self.request.headers.get(messages.SIGNATURE, ""),
            self.request.method or "",
            self.request.uri or "",
            self.request.body,
        )


def _status(error: CncpError) -> int:
    for kind, status in ((DeniedError, 403), (OutOfTurnError, 409), (UsageError, 422), (Misfit, 422), (Refused, 422)):
        if isinstance(error, kind):
            return status
    return 500


class _Boot(_Handler):
    def get(self) -> None:
        mac, uuid = (self.get_query_argument(name, "").lower() for name in ("mac", "uuid"))
        if not re.fullmatch(MAC_FORM, mac) or not re.fullmatch(UUID_FORM, uuid):
            raise UsageError("that is no address of a card, or no UUID", "ask with mac=... and uuid=...")
        node, key = self.cidd.provisioner.boot_key(mac, uuid)
        self.set_header("Content-Type", "text/plain")
        self.write(boot_script(self.cidd.address, node, key, _arguments(self.cidd.blancmange)))


def _arguments(folder: Path) -> str:
    """Return the arguments for Blancmange's kernel that it was built with."""
    return (read_bytes(folder / "arguments") or b"").decode().strip()


class _PlainReport(_Handler):
    at_boot = True

    def post(self, name: str) -> None:
        proof = self.proof(at_boot=self.at_boot)
        report = Report.from_json(self.request.body, "a report")
        self.answer(self.cidd.provisioner.report(name, report, proof))


class _Report(_PlainReport):
    at_boot = False


class _NodeTask(_Handler):
    async def get(self, name: str) -> None:
        proof = self.proof()
        wait = self.wait()
        provisioner = self.cidd.provisioner
        joined = self.get_query_argument("rendezvous", None)
        provisioner.admit(name, proof)
        await self.cidd.changes.until(f"node {name}", lambda: provisioner.has_task(name, joined), bool, wait)
        self.answer(provisioner.task(name))


class _NodeRendezvous(_Handler):
    def get(self, name: str) -> None:
        self.cidd.provisioner.admit(name, self.proof())
        self.set_header("Content-Type", "application/json")
        self.write(self.cidd.provisioner.rendezvous(name))


class _File(_Handler):
    """A file as a whole, or from an offset on where a transfer was cut; ``kind`` is what its bytes are counted as."""

    kind = ""

    def path(self, name: str) -> Path:
        raise NotImplementedError

    async def get(self, name: str) -> None:
        await send(self, self.path(name), functools.partial(self.cidd.meters.sent, self.kind))


class _Blob(_File):
    kind = "blob"

    def path(self, name: str) -> Path:
        return self.cidd.images.blob(name)


class _Blancmange(_File):
    kind = "blancmange"

    def path(self, name: str) -> Path:
        return self.cidd.blancmange / name


async def send(handler: RequestHandler, path: Path, sent: Callable[[int], None]) -> None:
    """Answer with a file, in blocks, so that many large ones take little memory; ``sent`` hears how many bytes."""
    loop = asyncio.get_running_loop()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        handler.send_error(404)
        return
    with file:
        # Of what is open: another may be in its place by now.
        size = os.fstat(file.fileno()).st_size
        begin = re.fullmatch(r"bytes=([0-9]{1,18})-", handler.request.headers.get("Range", ""))
        first = int(begin[1]) if begin else 0
        if first and first >= size:
            handler.set_header("Content-Range", f"bytes */{size}")
            handler.set_status(416)
            return
        if first:
            handler.set_status(206)
            handler.set_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            file.seek(first)
        handler.set_header("Content-Type", "application/octet-stream")
        handler.set_header("Content-Length", str(size - first))
        while block := await loop.run_in_executor(None, file.read, _BLOCK):
            handler.write(block)
            try:
                await handler.flush()
            except StreamClosedError:
                return
            sent(len(block))


class _Manifest(_Handler):
    def get(self, name: str, part: str) -> None:
        content, signature = self.cidd.images.manifest(name)
        self.set_header("Content-Type", "application/octet-stream")
        self.write(content if part == "json" else signature)


class _Admitted(_Handler):
    """What jobs and people ask, who have the token."""

    def prepare(self) -> None:
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.cidd.token}".encode()):
            raise DeniedError("the token is not that of this cidd", "cncp netboot.up says where it is")


class _Nodes(_Admitted):
    def get(self) -> None:
        self.answer(self.cidd.provisioner.nodes())


class _Node(_Admitted):
    def post(self, name: str) -> None:
        """Accept it."""
        self.answer(self.cidd.provisioner.accept(name, self.get_query_argument("name", "")))

    def delete(self, name: str) -> None:
        self.cidd.provisioner.forget(name)
        self.answer({})


class _Again(_Admitted):
    def post(self, name: str) -> None:
        self.answer(self.cidd.provisioner.again(name))


class _Events(_Admitted):
    async def get(self, name: str) -> None:
        after = int(re.sub(r"[^0-9]", "", self.get_query_argument("after", "0"))[:18] or 0)
        events = await self.cidd.changes.until(
            f"node {name}", lambda: self.cidd.db.events(name, after), bool, self.wait()
        )
        self.answer([{"number": number, **event.to_json()} for number, event in events])


class _Images(_Admitted):
    def get(self) -> None:
        self.answer(self.cidd.images.names())


class _Job(_Admitted):
    def put(self, job: str) -> None:
        wish = Wish.from_json(self.request.body, "what a job wants")
        self.answer(self.cidd.provisioner.capture(job, wish))

    async def get(self, job: str) -> None:
        """Say how far it is, as soon as that is another than the state whose digest is ``known``."""
        look = self.cidd.provisioner.capture_state
        known = self.get_query_argument("known", "")
        state = await self.cidd.changes.until(
            f"job {job}", lambda: look(job), lambda found: found.tag != known, self.wait()
        )
        self.set_header("ETag", f'"{state.tag}"')
        self.answer(state)

    def delete(self, job: str) -> None:
        self.cidd.provisioner.release(job)
        self.answer({})


class _JobRendezvous(_Admitted):
    def put(self, job: str) -> None:
        """Keep what the engines of its nodes join by."""
        self.cidd.provisioner.meet(job, Seed.of(self.request.body).to_json())
        self.answer({})


class _Metrics(_Admitted):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4")
        provisioner = self.cidd.provisioner
        outcomes = {**dict.fromkeys(OUTCOMES, 0), **provisioner.outcomes()}
        lines = self.cidd.meters.lines(provisioner.nodes(), len(self.cidd.images.names()), outcomes)
        self.write("".join(lines))


_NAME, _IMAGE, _JOB = (
    r"([A-Za-z0-9.-]{1,64})",
    r"([A-Za-z0-9_.-]{1,64})",
    r"((?:[A-Za-z0-9_.\[\]-]|%5[BbDd]){1,64}(?:~[1-9][0-9]{0,3})?)",
)


_PLAIN: list[tuple[str, type[_Handler]]] = [
    (r"/v1/boot", _Boot),
    (rf"/v1/nodes/{_NAME}/report", _PlainReport),
    (rf"/v1/images/{_IMAGE}/manifest\.(json|minisig)", _Manifest),
    (r"/v1/blobs/([0-9a-f]{64})", _Blob),
    (r"/v1/blancmange/(kernel|initramfs|sums|sums\.minisig)", _Blancmange),
]
"""What the server of the network answers where nodes boot."""

_SECURE: list[tuple[str, type[_Handler]]] = [
    (rf"/v1/nodes/{_NAME}/report", _Report),
    (rf"/v1/nodes/{_NAME}/task", _NodeTask),
    (rf"/v1/nodes/{_NAME}/rendezvous", _NodeRendezvous),
    (r"/v1/nodes", _Nodes),
    (rf"/v1/nodes/{_NAME}", _Node),
    (rf"/v1/nodes/{_NAME}/again", _Again),
    (rf"/v1/nodes/{_NAME}/events", _Events),
    (r"/v1/images", _Images),
    (rf"/v1/jobs/{_JOB}", _Job),
    (rf"/v1/jobs/{_JOB}/rendezvous", _JobRendezvous),
    (r"/metrics", _Metrics),
]
"""What those are answered who have a key or the token."""


def _application(cidd: Cidd, answers: Iterable[tuple[str, type[_Handler]]]) -> Application:
    shared = {"cidd": cidd}
    rules = [(target, handler, shared) for target, handler in answers]
    return Application(rules, default_handler_class=_Handler, default_handler_args=shared)


async def look_after(cidd: Cidd) -> None:
    """Have nodes that say nothing be noticed, for ever."""
    while True:
        await asyncio.sleep(_EVERY)
        cidd.provisioner.look()


def listen(cidd: Cidd, plain_at: tuple[str, int], secure_at: tuple[str, int], certificate: Path) -> list[HTTPServer]:
    """Serve from now on in the running loop; return the two servers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    servers = []
    for answers, (host, port), options in ((_PLAIN, plain_at, None), (_SECURE, secure_at, context)):
        application = _application(cidd, answers)
        server = HTTPServer(application, ssl_options=options, max_body_size=_LARGEST, max_buffer_size=2 * _LARGEST)
        server.listen(port, host)
        servers.append(server)
    return servers
