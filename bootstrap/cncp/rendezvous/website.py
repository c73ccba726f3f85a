"""The server of a store on the controller's machine: GET, sealed documents, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer

from cncp.rendezvous import certificate
from cncp.rendezvous.stores.served import ServedStore
from cncp.waiting import wait_until

_PATIENCE = 15.0  # s for a request to come whole
_AT_ONCE = 1024  # connections, one of each member; others wait
_LONGEST = 60  # s that a member may wait for a change


class Website(ThreadingHTTPServer):
    """Serves a store until it is closed, each connection in a thread of its own; ``busy`` is how many are answered."""

    daemon_threads = True
    request_queue_size = 128  # many machines may begin at the same time

    def __init__(self, address: tuple[str, int], store: ServedStore, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(address, _Request)
        self.store = store
        self.say = say
        self.busy = 0
        self._ending = False
        self._version = 0
        self._changed = threading.Condition()
        self._counting = threading.Lock()
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(certificate.path(folder))

    def server_bind(self) -> None:
        """Take the port, and look up no name for it: where no resolver answers that takes half a minute."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # of IPv4

    def begin(self) -> None:
        """Serve from now on, beside the caller."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish(self, patience: float) -> None:
        """Answer all who wait, now or within ``patience`` s, and end."""
        self._ending = True
        self.tell()
        wait_until(lambda: not self.busy, patience)
        self.shutdown()
        self.server_close()

    def tell(self) -> None:
        """Have those who wait look again: something may have changed."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def answer(self, target: str, etag: str, wait: float) -> tuple[int, str, bytes, str]:
        """Return status, text, content and its ETag, once that is another than ``etag`` or ``wait`` s are over."""
        deadline = time.monotonic() + min(wait, _LONGEST)
        with self._counted():
            while True:
                # Read first: what changes while it is looked at is looked at again.
                version = self._version
                status, text, content = self.store.answer(target)
                found = f'"{hashlib.sha256(content).hexdigest()}"'
                left = deadline - time.monotonic()
                if status != 200 or found != etag or left <= 0 or self._ending:
                    return status, text, content, found
                with self._changed:
                    self._changed.wait_for(lambda seen=version: self._version != seen, left)  # type: ignore[misc]

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self.busy += 1
        try:
            yield
        finally:
            with self._counting:
                self.busy -= 1

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Answer a connection, in its thread: who is silent holds up nobody else."""
        request.settimeout(_PATIENCE)
        with self._places, contextlib.suppress(OSError), self._context.wrap_socket(request, server_side=True) as secure:
            self.RequestHandlerClass(secure, client_address, self)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: strangers, too, connect to ports."""


class _Request(BaseHTTPRequestHandler):
    server: Website
    server_version, sys_version = "cncp", ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        """Answer with what the store says, or that it is still what the asker has."""
        asked = re.fullmatch(r"wait=([0-9]{1,3})", self.headers.get("Prefer", ""))
        known = self.headers.get("If-None-Match", "")
        status, text, content, etag = self.server.answer(self.path, known, float(asked[1]) if asked else 0.0)
        body = content or text.encode()
        if status == 200 and known == etag:
            status, body = 304, b""
        self.send_response(status)
        if status in (200, 304):
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Note who asked and how it was answered, without the URL: who has that can ask, too."""
        del size
        self.server.say(f"{self.client_address[0]} {code}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in http.server
        """Write nothing else: what strangers send is theirs."""
