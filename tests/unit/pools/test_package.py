"""What is brought to a machine that is to be given away."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from cncp.config.sources import SOURCE
from cncp.console import Console
from cncp.errors import CncpError
from cncp.pools.vm import package
from cncp.release import bundle


class Guest:
    """A machine that is to be given away: what is written there, and what is run."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}
        self.ran: list[str] = []

    def put(self, content: bytes, path: str) -> None:
        self.written[path] = content

    def run(self, argv: list[str]) -> None:
        self.ran.append(" ".join(argv))


def test_what_instances_of_a_package_install_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made for the machine's own Python, and lies where root alone writes; without it they fetch it."""
    guest, asked, console = Guest(), list[tuple[str, ...]](), Console(quiet=True)
    facts = SimpleNamespace(version=(3, 11, 2), processor="x86_64", libc=("glibc", "2.36"))
    there: Any = SimpleNamespace(facts=facts)

    def make(output: Path, *words: Any) -> None:
        asked.append(words[:3])
        output.write_bytes(b"bundle")

    monkeypatch.setattr(bundle, "for_engines", make)
    digest = package._bring_bundle(guest, there, console)  # type: ignore[arg-type]
    assert digest == hashlib.sha256(b"bundle").hexdigest()
    assert asked == [("x86_64", "manylinux_2_36_x86_64", "3.11")]
    assert guest.ran == ["sudo install -D -m 0644 /tmp/cncp.tar /var/lib/cncp-image/cncp.tar"]
    assert guest.written == {"/tmp/cncp.tar": b"bundle"}
    monkeypatch.setattr(bundle, "for_engines", mock.Mock(side_effect=CncpError("no index", "")))
    assert package._bring_bundle(guest, there, console) == ""  # type: ignore[arg-type]
    assert len(guest.ran) == 1
    assert package._KEPT in (SOURCE / "cookbooks/cncp/files/cloud/instance.sh").read_text()
