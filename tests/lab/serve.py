"""Servers for hosts that have no way out: a package index, and git repositories.

Both live in threads of the process that starts them, so nothing is left behind
when it dies.
"""

from __future__ import annotations

import hashlib
import html
import http.server
import re
import shutil
import socketserver
import subprocess
import threading
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import Parser
from functools import cache
from pathlib import Path

PAGE = "<!DOCTYPE html>\n<html><body>\n{links}\n</body></html>\n"


@contextmanager
def serve_directory(path: Path, address: str) -> Iterator[str]:
    """Serve the wheels and sdists in a folder as a simple index; gives its URL.

    The folder is read anew for each request, so files can be added meanwhile.
    The pages are PEP 503's, with a sha256 for each file.
    """

    class Handler(_IndexHandler):
        folder = path

    with by_http(Handler, address) as url:
        yield f"{url}/simple/"


@contextmanager
def git_daemon(repo: Path, address: str) -> Iterator[str]:
    """Serve one repository, read-only, with partial clones; gives its URL."""
    top = repo.resolve()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # One daemon for each connection, as inetd would start it: no process
            # is left waiting when the tests are killed.
            subprocess.run(
                ["git", "-c", "uploadpack.allowFilter=true",
                 "-c", "uploadpack.allowAnySHA1InWant=true",
                 "-c", "safe.directory=*",  # the tests' user may not own the repository
                 "daemon", "--inetd", "--export-all", f"--base-path={top.parent}", str(top)],
                stdin=self.request, stdout=self.request, stderr=subprocess.DEVNULL,
                check=False,
            )  # fmt: skip

    with _serving(_ThreadingServer((address, 0), Handler)) as port:
        yield f"git://{address}:{port}/{urllib.parse.quote(top.name)}"


class _ThreadingServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    """Run the server in a thread of its own; gives its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def by_http(handler: Callable[..., socketserver.BaseRequestHandler], address: str = "127.0.0.1") -> Iterator[str]:
    """Answer by HTTP for the length of a ``with`` block; gives the URL."""
    with _serving(http.server.ThreadingHTTPServer((address, 0), handler)) as port:
        yield f"http://{address}:{port}"


class _IndexHandler(http.server.BaseHTTPRequestHandler):
    """/simple/, /simple/NAME/ and /files/FILE of one folder."""

    folder: Path

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        parts = [part for part in path.split("/") if part]
        projects = _projects(self.folder)
        if parts == ["simple"]:
            self._page("\n".join(f'<a href="/simple/{name}/">{name}</a>' for name in sorted(projects)))
        elif len(parts) == 2 and parts[0] == "simple" and _normal(parts[1]) in projects:
            self._page("\n".join(_link(file) for file in projects[_normal(parts[1])]))
        elif len(parts) == 2 and parts[0] == "files":
            self._file(parts[1], [file for files in projects.values() for file in files])
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _page(self, links: str) -> None:
        body = PAGE.format(links=links).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, name: str, files: list[Path]) -> None:
        # Only a file that the index lists is opened, whatever the request asks for.
        chosen = next((file for file in files if file.name == name), None)
        if chosen is None:
            self.send_error(404)
            return
        with chosen.open("rb") as stream:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(chosen.stat().st_size))
            self.end_headers()
            if self.command == "GET":
                shutil.copyfileobj(stream, self.wfile)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        """Say nothing: the tests' output is for the tests."""


def _normal(name: str) -> str:
    """Write a project's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _projects(folder: Path) -> dict[str, list[Path]]:
    """List the folder's distributions by project."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix == ".whl":
            name = file.name.split("-")[0]
        elif file.name.endswith(".tar.gz"):
            name = file.name.removesuffix(".tar.gz").rpartition("-")[0]
        else:
            continue
        found.setdefault(_normal(name), []).append(file)
    return found


def _link(file: Path) -> str:
    """Write the link to one file, with its hash and the Pythons it is for."""
    facts = file.stat()
    digest, pythons = _facts(file, facts.st_size, facts.st_mtime_ns)
    name = urllib.parse.quote(file.name)
    needs = f' data-requires-python="{html.escape(pythons)}"' if pythons else ""
    return f'<a href="/files/{name}#sha256={digest}"{needs}>{html.escape(file.name)}</a>'


@cache
def _facts(file: Path, size: int, mtime: int) -> tuple[str, str]:
    """Give the file's sha256 and its Requires-Python; read once for each version of it."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if file.suffix != ".whl":
        return digest, ""
    with zipfile.ZipFile(file) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        fields = Parser().parsestr(wheel.read(metadata).decode(), headersonly=True)
    return digest, str(fields.get("Requires-Python", ""))
