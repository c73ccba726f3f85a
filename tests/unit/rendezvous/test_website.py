"""The controller's machine as a store: what it gives to whom, over TLS with a certificate that is known before."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.ports import free_block
from cncp.rendezvous import certificate
from cncp.rendezvous.fetching import fetch, is_pinned
from cncp.rendezvous.stores.served import ServedStore
from cncp.rendezvous.website import Website
from cncp.waiting import wait_until

KEY = "cncp/v1/0123456789abcdef/lease-1.json"


class Served:
    """A store on loopback that is served; ``said`` is what would be logged."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.port = free_block(1)[0]
        self.now = 1_790_000_000.0
        self.store = ServedStore(folder, "127.0.0.1", self.port, "key", lambda: self.now)
        self.site = Website(("127.0.0.1", self.port), self.store, folder, self.said.append)
        self.site.begin()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve a folder."""
    made = Served(tmp_path)
    yield made
    made.site.finish(5)


def test_a_get(served: Served) -> None:
    """Not there, there, unchanged, changed; the log has no URL, which is all that one needs to ask."""
    url = served.store.url(KEY, 600)
    assert is_pinned(url)
    assert fetch(url).verdict == "not yet"
    served.store.put(KEY, b"one")
    found = fetch(url)
    assert found.body == b"one"
    assert fetch(url, found.etag).verdict == "unchanged"
    served.store.put(KEY, b"two")
    assert fetch(url, found.etag).body == b"two"
    assert served.said == ["127.0.0.1 404", "127.0.0.1 200", "127.0.0.1 304", "127.0.0.1 200"]


def test_who_waits_hears_at_once(served: Served) -> None:
    """A member's question is kept until there is something to say."""
    url = served.store.url(KEY, 600)
    served.store.put(KEY, b"one")
    known = fetch(url).etag

    def change() -> None:
        served.store.put(KEY, b"two")
        served.site.tell()

    timer = threading.Timer(0.5, change)
    timer.start()
    began = time.monotonic()
    assert fetch(url, known, wait=50).body == b"two"
    assert time.monotonic() - began < 20
    timer.join()


def test_the_end_lets_go_of_those_who_wait(served: Served) -> None:
    """A service that is stopped keeps nobody, and is not kept."""
    url = served.store.url(KEY, 600)
    served.store.put(KEY, b"one")
    known = fetch(url).etag
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(fetch(url, known, wait=50).verdict))
    waiting.start()
    assert wait_until(lambda: served.site.busy, 10)
    served.site.finish(5)
    waiting.join(10)
    assert answers == ["unchanged"]


def test_what_a_url_does_not_open(served: Served) -> None:
    """As for an object store: other keys, other times, after its time."""
    served.store.put(KEY, b"one")
    served.store.put("other.json", b"two")
    url = served.store.url(KEY, 600)
    assert fetch(url.replace(KEY, "other.json")).verdict == "clock"
    assert fetch(url.replace("expires=1", "expires=2")).verdict == "clock"
    assert fetch(url.replace("signature=", "signature=x")).verdict == "clock"
    assert fetch(url.partition("?")[0] + "#" + url.partition("#")[2]).verdict == "not yet"
    for path in ("/../owner.json", "/", "/%2e%2e/owner.json", "/objects", "//etc/passwd"):
        assert served.store.answer(path)[0] == 403
    served.now += 601
    assert fetch(url).verdict == "expired"


def test_another_server(served: Served, tmp_path: Path) -> None:
    """Whoever else answers there is asked for nothing."""
    url = served.store.url(KEY, 600)
    served.store.put(KEY, b"one")
    (tmp_path / "other").mkdir()
    pin = certificate.ensure(tmp_path / "other", "other")
    other = url.partition("#")[0] + f"#sha256={pin}"
    answer = fetch(other)
    assert answer.verdict == "not yet"
    assert "another server answers there" in answer.why
    assert served.said == []


def test_strangers(served: Served) -> None:
    """Connections that say nothing, or something else, hold up nobody."""
    served.store.put(KEY, b"one")
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
    with socket.create_connection(("127.0.0.1", served.port)) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert fetch(served.store.url(KEY, 600)).body == b"one"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for request in (b"PUT /x HTTP/1.1\r\n\r\n", b"\0\r\n\r\n", b"GET " + b"x" * 70000 + b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", served.port)) as raw, context.wrap_socket(raw) as secure:
            secure.sendall(request)
            assert b" 200 " not in secure.recv(200)
    for client in silent:
        client.close()


def test_a_certificate_stays(tmp_path: Path) -> None:
    """Seeds and leases that were given away name it; its key is ours alone."""
    first = certificate.ensure(tmp_path, "x")
    assert certificate.ensure(tmp_path, "x") == first
    assert certificate.path(tmp_path).stat().st_mode & 0o777 == 0o600
