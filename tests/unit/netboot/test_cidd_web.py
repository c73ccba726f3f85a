"""How cidd sends files; what it answers is tried over real sockets, in tests/netboot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from tornado.httputil import HTTPHeaders
from tornado.web import RequestHandler

from cncp.netboot import cidd_web


class Handler:
    """Takes an answer."""

    def __init__(self, **headers: str) -> None:
        self.request = self
        self.headers = HTTPHeaders(headers)
        self.status, self.content = 200, b""
        self.answered: dict[str, str] = {}

    def set_status(self, status: int) -> None:
        """Take the status."""
        self.status = status

    send_error = set_status

    def set_header(self, name: str, value: str) -> None:
        """Take a header."""
        self.answered[name] = value

    def write(self, block: bytes) -> None:
        """Take a part."""
        self.content += block

    async def flush(self) -> None:
        """Send what was taken."""


def sent(path: Path, **headers: str) -> tuple[Handler, int]:
    """Return how a file is answered with, and how many bytes were counted."""
    handler, counted = Handler(**headers), list[int]()
    asyncio.run(cidd_web.send(cast("RequestHandler", handler), path, counted.append))
    return handler, sum(counted)


def test_a_file_from_where_a_transfer_was_cut(tmp_path: Path) -> None:
    """As a whole without; what is not there is none."""
    path = tmp_path / "initramfs"
    path.write_bytes(b"0123456789")
    whole, counted = sent(path)
    assert (whole.status, whole.content, counted) == (200, b"0123456789", 10)
    rest, counted = sent(path, Range="bytes=7-")
    assert (rest.status, rest.content, counted) == (206, b"789", 3)
    assert rest.answered["Content-Range"] == "bytes 7-9/10"
    assert sent(tmp_path / "none")[0].status == 404


@pytest.mark.parametrize("first", [10, 11, 10**17])
def test_from_the_end_of_a_file_on(tmp_path: Path, first: int) -> None:
    """There is nothing, and it is said how much there is (RFC 9110, 15.5.17)."""
    path = tmp_path / "initramfs"
    path.write_bytes(b"0123456789")
    rest, counted = sent(path, Range=f"bytes={first}-")
    assert (rest.status, rest.content, counted) == (416, b"", 0)
    assert rest.answered["Content-Range"] == "bytes */10"


def test_a_file_that_is_replaced_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was opened is sent, and said to be as long as that is."""
    path, whole = tmp_path / "initramfs", Path.open
    path.write_bytes(b"old")
    newer = tmp_path / "newer"
    newer.write_bytes(b"newer")

    def opened(self: Path, mode: str) -> Any:
        file = whole(self, mode)
        newer.replace(path)
        return file

    monkeypatch.setattr(Path, "open", opened)
    handler, _ = sent(path)
    assert (handler.content, handler.answered["Content-Length"]) == (b"old", "3")
