"""An OpenStack of a few answers, on loopback: keystone, nova, glance and neutron as openstacksdk asks them.

The forms are those of the API references; real services are asked by ``bash tests/run --all``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.lab.serve import by_http

PROJECT = "0123456789abcdef0123456789abcdef"
IMAGE = {"id": "11111111-1111-4111-8111-111111111111", "name": "debian-12", "status": "active", "visibility": "public"}
FLAVOR = {"id": "2", "name": "m1.small", "vcpus": 2, "ram": 2048, "disk": 10, "links": []}


@dataclass
class Stub:
    """What it has. ``refuse`` is (status, body, headers) for the next creation; ``capacity`` servers find a host.

    ``limited`` is for how many lists it is asked too often, once there are servers. ``images`` are those that were
    uploaded, with their ``data``: of these it loses ``cut_data`` bytes, or takes none (``refuse_data``); with
    ``hashes`` it says more of them than their MD5. ``objects`` is whether keystone knows of an object store.
    """

    address: str = ""
    servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    quota: int = 100
    capacity: int = 100
    limited: int = 0
    objects: bool = False
    refuse: tuple[int, str, dict[str, str]] | None = None
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    refuse_data: tuple[int, str] | None = None
    cut_data: int = 0
    hashes: bool = True
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any, dict[str, str]]:
        """Answer a request."""
        routes = {
            r"GET /v3/?": lambda: self._version("v3.14", f"{self.address}/v3/"),
            r"POST /v3/auth/tokens": self._token,
            r"GET /compute/v2\.1/?": self._nova,
            r"GET /image/?(?:v2/?)?": lambda: (200, {"versions": [self._of("v2.16", "/image/v2/")]}, {}),
            r"GET /network/?": lambda: (200, {"versions": [self._of("v2.0", "/network/v2.0/")]}, {}),
            r"GET /image/v2/images/([^/]+)": lambda name: self._by_id(name, self.images.get(name, IMAGE), None),
            r"GET /image/v2/images": lambda: (200, {"images": self._images(query)}, {}),
            r"POST /image/v2/images": lambda: self._make_image(body),
            r"PUT /image/v2/images/([^/]+)/file": lambda name: self._fill_image(name, body),
            r"DELETE /image/v2/images/([^/]+)": self._delete_image,
            r"GET /compute/v2\.1/flavors(?:/detail)?": lambda: (200, {"flavors": [FLAVOR]}, {}),
            r"GET /compute/v2\.1/flavors/([^/]+)": lambda name: self._by_id(name, FLAVOR, "flavor"),
            r"GET /compute/v2\.1/flavors/[^/]+/os-extra_specs": lambda: (200, {"extra_specs": {}}, {}),
            r"GET /compute/v2\.1/limits": self._limits,
            r"GET /network/v2\.0/networks": lambda: (200, {"networks": []}, {}),
            r"GET /compute/v2\.1/servers/detail": lambda: self._list(query),
            r"POST /compute/v2\.1/servers": lambda: self._create(body["server"]),
            r"DELETE /compute/v2\.1/servers/([^/]+)": self._delete,
            r"POST /compute/v2\.1/servers/([^/]+)/action": self._console,
        }
        for pattern, route in routes.items():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                found: tuple[int, Any, dict[str, str]] = route(*match.groups())  # type: ignore[operator]
                return found
        return 404, {"itemNotFound": {"message": f"no {path}", "code": 404}}, {}

    def _of(self, version: str, path: str) -> dict[str, Any]:
        return {
            "id": version,
            "status": "CURRENT",
            "version": "2.96" if "compute" in path else "",
            "min_version": "2.1" if "compute" in path else "",
            "links": [{"rel": "self", "href": f"{self.address}{path}"}],
        }

    def _version(self, version: str, href: str) -> tuple[int, Any, dict[str, str]]:
        return 200, {"version": {"id": version, "status": "stable", "links": [{"rel": "self", "href": href}]}}, {}

    def _nova(self) -> tuple[int, Any, dict[str, str]]:
        return 200, {"version": self._of("v2.1", "/compute/v2.1/")}, {}

    def _token(self) -> tuple[int, Any, dict[str, str]]:
        endpoints = {"identity": "/v3", "compute": "/compute/v2.1", "image": "/image", "network": "/network"}
        if self.objects:
            endpoints["object-store"] = "/v1/AUTH_lab"
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {"interface": "public", "region": "One", "region_id": "One", "url": self.address + path, "id": kind}
                ],
            }
            for kind, path in endpoints.items()
        ]
        token = {
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "project": {"id": PROJECT, "name": "lab", "domain": {"id": "default", "name": "Default"}},
            "user": {"id": "u", "name": "ada", "domain": {"id": "default", "name": "Default"}},
            "roles": [],
            "catalog": catalog,
        }
        return 201, {"token": token}, {"X-Subject-Token": "t"}

    def _by_id(self, name: str, known: dict[str, Any], key: str | None) -> tuple[int, Any, dict[str, str]]:
        if name == known["id"]:
            return 200, {key: known} if key else known, {}
        return 404, {"itemNotFound": {"message": "none", "code": 404}}, {}

    def _images(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        tags = query.get("tag")
        if tags:
            return [image for image in self.images.values() if set(tags) <= set(image["tags"])]
        return [IMAGE] if _named(query, IMAGE) else []

    def _make_image(self, wanted: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        image = {
            "id": str(uuid.uuid4()),
            "status": "queued",
            "created_at": now,
            "checksum": None,
            "size": None,
            **wanted,
        }
        # Glance refuses properties that are no strings.
        assert all(
            isinstance(value, str) for name, value in wanted.items() if name not in ("tags", "min_disk", "min_ram")
        )
        self.images[image["id"]] = image
        return 201, image, {}

    def _fill_image(self, name: str, data: bytes) -> tuple[int, Any, dict[str, str]]:
        if self.refuse_data:
            status, told = self.refuse_data
            if status == 401:
                self.refuse_data = None
            return status, {"message": told, "code": f"{status} Refused", "title": "Refused"}, {}
        kept = self.data[name] = data[: len(data) - self.cut_data]
        more = {"os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(kept).hexdigest()} if self.hashes else {}
        self.images[name].update(status="active", size=len(kept), checksum=hashlib.md5(kept).hexdigest(), **more)  # noqa: S324  # as glance does
        return 204, None, {}

    def _delete_image(self, name: str) -> tuple[int, Any, dict[str, str]]:
        if self.images.pop(name, None) is None:
            return 404, {"message": f"No image found with ID {name}", "code": "404 Not Found"}, {}
        return 204, None, {}

    def _limits(self) -> tuple[int, Any, dict[str, str]]:
        used = len(self.servers)
        absolute = {
            "maxTotalInstances": self.quota, "totalInstancesUsed": used,
            "maxTotalCores": -1, "totalCoresUsed": 2 * used,
            "maxTotalRAMSize": 2048 * self.quota, "totalRAMUsed": 2048 * used,
        }  # fmt: skip
        return 200, {"limits": {"rate": [], "absolute": absolute}}, {}

    def _list(self, query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        if self.limited and self.servers:
            self.limited -= 1
            return 429, {"overLimit": {"code": 429, "message": "too many requests"}}, {"Retry-After": "3"}
        pattern = query.get("name", [""])[0]
        found = [server for server in self.servers.values() if re.search(pattern, server["name"])]
        after = query.get("marker")
        return 200, {"servers": [] if after else found}, {}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if self.refuse:
            status, body, headers = self.refuse
            self.refuse = None
            return status, json.loads(body), headers
        # What nova itself insists on, of microversion 2.37 and later.
        assert wanted["networks"] in ("auto", "none"), wanted
        assert len(wanted["user_data"]) < 65536
        base64.b64decode(wanted["user_data"], validate=True)
        count = min(wanted["max_count"], self.quota - len(self.servers))
        if count < wanted["min_count"]:
            return 403, {"forbidden": {"code": 403, "message": "Quota exceeded for instances: Requested 1"}}, {}
        new = []
        for number in itertools.count(1):
            if number > count:
                break
            fits = len(self.servers) < self.capacity
            server = {
                "id": str(uuid.uuid4()),
                "name": wanted["name"] + (f"-{number}" if wanted["max_count"] > 1 else ""),
                "status": "ACTIVE" if fits else "ERROR",
                "metadata": wanted["metadata"],
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "addresses": {"lab": [{"addr": f"10.0.0.{len(self.servers) + 1}", "version": 4}]} if fits else {},
                "flavor": {"original_name": FLAVOR["name"]},
                "OS-EXT-AZ:availability_zone": wanted.get("availability_zone") or "nova",
                "OS-EXT-STS:task_state": None,
                "user_data": wanted["user_data"],
                **({} if fits else {"fault": {"code": 500, "message": "No valid host was found. "}}),
            }
            self.servers[server["id"]] = server
            new.append(server)
        return 202, {"server": {"id": new[0]["id"], "links": [], "adminPass": "x"}}, {}

    def _delete(self, name: str) -> tuple[int, Any, dict[str, str]]:
        if self.servers.pop(name, None) is None:
            return 404, {"itemNotFound": {"message": f"Instance {name} could not be found.", "code": 404}}, {}
        return 204, None, {}

    def _console(self, name: str) -> tuple[int, Any, dict[str, str]]:
        return (200, {"output": "login: "}, {}) if name in self.servers else (404, {}, {})


def _named(query: dict[str, list[str]], known: dict[str, Any]) -> bool:
    return query.get("name", [known["name"]]) == [known["name"]]


@contextlib.contextmanager
def serving() -> Iterator[Stub]:
    """Have one answer for the length of a ``with`` block."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            plain = self.headers.get("Content-Type") == "application/octet-stream"
            body = sent if plain else json.loads(sent) if sent else None
            parts = urlsplit(self.path)
            stub.asked.append(f"{self.command} {self.path}")
            status, content, headers = stub.answer(self.command, parts.path, parse_qs(parts.query), body)
            raw = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = do_PUT = _any  # noqa: N815  # names of the standard library

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with by_http(Handler) as stub.address:
        yield stub
