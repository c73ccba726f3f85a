"""Installing Cinc, against a server of our own: only what was announced is ever installed."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cncp.errors import CncpError
from cncp.machine.converge import chef, cinc

PACKAGE = b"a package"


class Recorder:
    """Notes what is to be run as root, and what the package then holds."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.content = b""

    def run(self, argv: list[str], *, timeout: float) -> None:
        """Note a command."""
        assert timeout > 0
        self.argv = argv
        self.content = Path(argv[-1]).read_bytes()


class Server:
    """A download service with a certificate of its own; ``metadata`` is what it answers."""

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "key.pem", folder / "cert.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
        subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.queries: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.queries.append(self.path)
                found = PACKAGE if self.path.endswith(".deb") else json.dumps(server.metadata).encode()
                self.send_response(200 if server.metadata else 404)
                self.end_headers()
                self.wfile.write(found)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.base = f"https://localhost:{self._http.server_port}"
        self.context = ssl.create_default_context(cafile=str(certificate))
        digest = hashlib.sha256(PACKAGE).hexdigest()
        self.metadata = {"url": f"{self.base}/cinc_18_amd64.deb", "sha256": digest, "version": "18.0.0"}
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return a server, and have no proxy stand before it."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.setattr(chef, "find", lambda: Path("/opt/cinc/bin/cinc-solo"))
    made = Server(tmp_path)
    yield made
    made.close()


def install(server: Server) -> Recorder:
    """Install from a server."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cinc, "run", recorder.run)
        cinc.install(lambda _: None, base=server.base, context=server.context)
    return recorder


def test_what_was_announced_is_installed(server: Server) -> None:
    """The package for this machine is asked for, checked and handed to its package manager."""
    actor = install(server)
    assert actor.content == PACKAGE
    assert actor.argv[0] in ("dpkg", "rpm")
    assert not Path(actor.argv[-1]).exists()
    assert all(word in server.queries[0] for word in ("/stable/cinc/metadata?", "p=", "pv=", "m=", "v=18"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sha256": "0" * 64}, "SHA-256 differs"),
        ({"sha256": ""}, "not to be trusted"),
        ({"url": "http://localhost/cinc.deb"}, "not to be trusted"),
        ({"url": "https://localhost/"}, "not to be trusted"),
        ({"url": "https://localhost:1/cinc.deb"}, "cannot be fetched"),
        ({"url": None}, "names no package"),
    ],
)
def test_anything_else_is_not(changed: dict[str, Any], said: str, server: Server) -> None:
    """Content that differs, no digest, or a way without TLS: nothing is installed."""
    server.metadata.update(changed)
    with pytest.raises(CncpError, match=said):
        install(server)


def test_a_server_nobody_vouches_for_is_not_believed(server: Server) -> None:
    """The certificate has to be one that this machine trusts."""
    server.context = ssl.create_default_context()
    with pytest.raises(CncpError, match="certificate"):
        install(server)
    assert server.queries == []


def test_no_package_for_this_machine(server: Server) -> None:
    """What the service does not know is said, with what to do instead."""
    server.metadata = {}
    with pytest.raises(CncpError, match="names no package") as failed:
        install(server)
    assert "embedded" in failed.value.hint


def test_enterprise_clones_share_a_package() -> None:
    """Rocky and AlmaLinux take the package of the system they are built from, by its major version."""
    assert cinc._platform({"ID": "rocky", "VERSION_ID": "9.4"}) == ("el", "9")
    assert cinc._platform({"ID": "ubuntu", "VERSION_ID": "22.04"}) == ("ubuntu", "22.04")


def test_who_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's no comes first, then rights, then the network; each is said."""
    monkeypatch.setattr(cinc, "reachable", lambda: False)
    assert "CNCP_CHEF_INSTALL" in cinc.refusal({"CNCP_CHEF_INSTALL": "no"}, True)
    assert "root" in cinc.refusal({}, False)
    assert cinc.HOST in cinc.refusal({}, True)
    monkeypatch.setattr(cinc, "reachable", lambda: True)
    assert cinc.refusal({}, True) == ""


def test_reachable() -> None:
    """A host that listens is reached; one that does not is given up at once, or in time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert cinc.reachable("127.0.0.1", listening.getsockname()[1])
    assert not cinc.reachable("127.0.0.1", 1, patience=0.5)
