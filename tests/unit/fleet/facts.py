"""What a machine says of itself, for tests."""

from __future__ import annotations

from typing import Any

from cncp.fleet.model import HOME, SHARED
from cncp.ipp import keys
from cncp.ssh.rpc import Facts

SAID: dict[str, Any] = {
    "addresses": ["10.0.0.7"],
    "clock": 1.7e9,
    "code": {HOME: "0" * 64, SHARED: ""},
    "cores": 4,
    "free": 2**40,
    "home": "/home/ada",
    "home_id": [7, 1700000000000000000],
    "host": "far",
    "libc": ["glibc", "2.36"],
    "machine": "0123456789abcdef",
    "made_with": {HOME: "/usr/bin/python3.11", SHARED: ""},
    "processor": "x86_64",
    "python": "/usr/bin/python3",
    "real_python": "/usr/bin/python3.11",
    "seen_from": "10.0.0.1",
    "tunnels": [],
    "user": "ada",
    "version": [3, 11, 2],
    "writable": True,
}
"""As the agent sends it."""

IDENTITY = keys.Identity.new("k" * 64, (b"p" * 40, b"s" * 40), tuple(range(20000, 20018)))
CLIENT, SECRET = keys.connection_files(IDENTITY, listen="0.0.0.0", location="gold1", encryption=True)
"""The connection files of a cluster."""


def facts(**changed: Any) -> Facts:
    """Return it as it is read, but for what is said to be otherwise."""
    return Facts.from_json({**SAID, **changed}, "it")
