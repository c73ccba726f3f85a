"""A Swift of a few answers, on loopback: containers, objects, lists and temporary URLs, beside a keystone.

The forms are those of the API reference and of a real one, which is asked by ``bash tests/run --all``.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.lab.serve import by_http

from .stub_openstack import Stub

ROOT = "/v1/AUTH_lab"


@dataclass(frozen=True)
class Stored:
    """An object; it is gone after ``ends``, s since 1970."""

    content: bytes
    ends: float

    @property
    def etag(self) -> str:
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


@dataclass
class Container:
    """Headers and objects. ``listed`` are names that a list still has of what is gone."""

    headers: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)


@dataclass
class StubSwift:
    """What it has.

    ``serves`` is whether keystone knows of it, ``owner`` whether the account owns containers, ``tempurl`` whether URLs
    are served.
    ``puzzled`` is for how many temporary URLs it does not find its keys; ``status`` answers all, where it is set, and
    ``page`` every list.
    """

    address: str = ""
    containers: dict[str, Container] = field(default_factory=dict)
    serves: bool = True
    owner: bool = True
    tempurl: bool = True
    puzzled: int = 0
    status: int = 0
    page: bytes | None = None
    asked: list[str] = field(default_factory=list)

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Answer a request."""
        parts = urlsplit(target)
        if parts.path.startswith("/v3"):
            keystone = Stub(self.address, objects=self.serves)
            status, content, more = keystone.answer(method, parts.path, {}, None)
            return status, json.dumps(content).encode(), more
        if self.status:
            return self.status, b"", {}
        name, _, key = parts.path.removeprefix(f"{ROOT}/").partition("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        container = self.containers.get(name)
        if "temp_url_sig" in query:
            if container is None or not self._signed(container, method, parts.path, query):
                return 401, b"401 Unauthorized: Temp URL invalid", {}
        elif headers.get("X-Auth-Token") != "t":
            return 401, b"", {}
        if container is None:
            return 404, b"", {}
        return (
            self._object(container, key, method, headers, body) if key else self._of(container, method, query, headers)
        )

    def _signed(self, container: Container, method: str, path: str, query: Mapping[str, str]) -> bool:
        if self.puzzled:
            self.puzzled -= 1
            return False
        until = query["temp_url_expires"]
        keys = [value for name, value in container.headers.items() if "temp-url-key" in name]
        good = [
            # SHA-1 is refused since 2.30.
            hmac.new(key.encode(), f"{allowed}\n{until}\n{path}".encode(), hashlib.sha256).hexdigest()
            for key in keys
            for allowed in ({"GET", method} if method == "HEAD" else {method})
        ]
        return self.tempurl and query["temp_url_sig"] in good and time.time() < int(until)

    def _of(
        self, container: Container, method: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        if method == "POST":
            if not self.owner:
                return 403, b"", {}
            container.headers |= {
                name.lower(): value for name, value in headers.items() if "temp-url-key" in name.lower()
            }
            return 204, b"", {}
        if method == "HEAD":
            return 204, b"", container.headers if self.owner else {}
        if self.page is not None:
            return 200, self.page, {}
        self._expire(container)
        names = sorted(container.objects.keys() | container.listed)
        chosen = [name for name in names if name.startswith(query.get("prefix", "")) and name > query.get("marker", "")]
        # A page has 10000 in truth.
        return 200, json.dumps([{"name": name, "bytes": 1} for name in chosen[:2]]).encode(), {}

    def _expire(self, container: Container) -> None:
        container.objects = {name: kept for name, kept in container.objects.items() if time.time() < kept.ends}

    def _object(
        self, container: Container, key: str, method: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, Mapping[str, str]]:
        self._expire(container)
        there = container.objects.get(key)
        if method == "PUT":
            if there and headers.get("If-None-Match") == "*":
                return 412, b"", {}
            after = headers.get("X-Delete-After")
            container.objects[key] = Stored(body, time.time() + int(after) if after else float("inf"))
            return 201, b"", {}
        if there is None:
            return 404, b"", {}
        if method == "DELETE":
            del container.objects[key]
            return 204, b"", {}
        if headers.get("If-None-Match") == there.etag:
            return 304, b"", {}
        return 200, there.content, {"ETag": there.etag}


@contextlib.contextmanager
def serving() -> Iterator[StubSwift]:
    """Have one answer for the length of a ``with`` block."""
    stub = StubSwift()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stub.asked.append(f"{self.command} {self.path}")
            status, content, headers = stub.answer(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = _any  # noqa: N815  # names of the standard library

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with by_http(Handler) as stub.address:
        yield stub


def clouds(address: str, **more: Any) -> str:
    """Return a clouds.yaml with the cloud ``lab``: JSON is YAML."""
    login = {
        "auth_url": f"{address}/v3", "username": "ada", "password": "x", "project_name": "lab",
        "user_domain_name": "Default", "project_domain_name": "Default",
    }  # fmt: skip
    return json.dumps({"clouds": {"lab": {"auth": login, "region_name": "One"}, **more}})
