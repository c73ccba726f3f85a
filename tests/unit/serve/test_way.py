"""Where engines find a controller that has moved."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cncp.fleet.phases.start_engines import is_address
from cncp.serve import controller_address


@pytest.fixture
def port() -> Iterator[int]:
    """Yield a port that answers on one loopback address, and not on another."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("location", "names", "expected"),
    [
        ("127.0.0.2", ["nosuch.invalid"], ""),
        ("127.0.0.3", ["nosuch.invalid", "moved"], "moved"),
        ("127.0.0.3", ["nosuch.invalid"], ""),
        ("127.0.0.3", [], ""),
        ("127.0.0.3", None, ""),
        ("127.0.0.3", "moved", ""),
        ("127.0.0.3", [5, "x" * 300, "a..b", "moved"], "moved"),
    ],
)
def test_a_controller_that_has_moved_is_found_by_its_names(
    port: int, monkeypatch: pytest.MonkeyPatch, location: str, names: object, expected: str
) -> None:
    """The address that worked is tried first; where nothing answers it stays, and the next start asks again."""
    resolve = socket.getaddrinfo

    def resolved(host: str, *rest: object) -> object:
        if host == "nosuch.invalid":
            raise socket.gaierror(host)
        return resolve("127.0.0.2" if host == "moved" else host, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    assert controller_address.other({"registration": port, "names": names}, location) == expected


@pytest.mark.parametrize(
    ("text", "number"), [("10.0.0.1", True), ("fe80::1", True), ("gold1", False), ("1.2.3", False)]
)
def test_names_are_told_from_addresses(text: str, number: bool) -> None:
    """Only names go into the file: what follows a move, and does not change with every interface."""
    assert is_address(text) is number
