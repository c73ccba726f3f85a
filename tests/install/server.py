"""A package index on loopback with the habits of real ones: passwords, TLS, pages without hashes."""

from __future__ import annotations

import base64
import hashlib
import html
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cncp.install.wheels import normal


class IndexServer(ThreadingHTTPServer):
    """Serves the wheels in a folder by PEP 503, and files by name under /files/.

    ``fragments``: whether pages give hashes. ``login``: "user:password" asked of everybody.
    ``hidden``: projects it pretends not to have. ``asked``: the paths of all requests; of one
    that came to it as to a proxy, the whole URL.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.fragments = True
        self.login = ""
        self.hidden: set[str] = set()
        self.asked: list[str] = []
        self.scheme = "http"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        """The index, with the login where there is one."""
        login = f"{self.login}@" if self.login else ""
        return f"{self.scheme}://{login}{self.address}/simple"

    def page(self, project: str) -> str:
        """Return the page of a project, "" where it has none."""
        links = []
        for path in sorted(self.folder.glob("*.whl")):
            if normal(path.name.split("-")[0]) == project and project not in self.hidden:
                fragment = f"#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}" if self.fragments else ""
                links.append(f'<a href="/files/{html.escape(path.name)}{fragment}">{html.escape(path.name)}</a><br>')
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>" if links else ""


class _Handler(BaseHTTPRequestHandler):
    server: IndexServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.server.asked.append(self.path)
        status, kind, content = self._content()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _content(self) -> tuple[int, str, bytes]:
        expected = "Basic " + base64.b64encode(self.server.login.encode()).decode()
        if self.server.login and self.headers.get("Authorization") != expected:
            return 401, "text/plain", b"who are you?"
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        if parts[:1] == ["simple"] and len(parts) == 2:
            page = self.server.page(parts[1])
            return (200, "text/html", page.encode()) if page else (404, "text/plain", b"no such project")
        file = self.server.folder / parts[-1] if parts[:1] == ["files"] else None
        if file is not None and file.is_file():
            return 200, "application/octet-stream", file.read_bytes()
        return 404, "text/plain", b"no such file"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is called
        """Say nothing; ``asked`` has it all."""


@contextmanager
def serving(folder: Path, certificate: Path | None = None) -> Iterator[IndexServer]:
    """Serve a folder of wheels; with a certificate (key and chain in one PEM file) over TLS."""
    server = IndexServer(folder)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
