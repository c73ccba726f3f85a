"""Verbs of the netboot server and of its nodes: what is refused, and what is said of what cidd answers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.netboot import cidcapt
from cncp.netboot.cidcapt import Access, CiddClient, RefusedError
from cncp.netboot.cidkid import CiddError
from cncp.netboot.service.server_paths import Paths
from cncp.tasks import netboot, node
from tests.unit.refusal import answered, ran

NODES: list[dict[str, object]] = [
    {"name": "n1", "mac": "52:54:00:00:00:01", "uuid": f"{1:032x}", "state": "fetch", "percent": 40, "wanted": "c-1-0"},
    {"name": "node-525400000002", "mac": "52:54:00:00:00:02", "uuid": f"{2:032x}", "state": "unknown"},
]
for document in NODES:
    text = str(document["uuid"])
    document["uuid"] = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

Answer = Callable[[str, str], object]


@pytest.fixture
def access(tmp_path: Path) -> Path:
    """Return the file by which a cidd would be reached that is not there."""
    path = tmp_path / "cidcapt.json"
    path.write_text(json.dumps(Access("https://127.0.0.1:1", "0" * 64, "t").to_json()))
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder without anything."""
    made = tmp_path / "here"
    made.mkdir()
    return made


def answers(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    """Have cidd answer; return what it is asked."""
    asked: list[str] = []

    def ask(_: CiddClient, method: str, target: str, body: object = None) -> bytes:
        asked.append(f"{method} {target}")
        return json.dumps(answer(method, target)).encode()

    monkeypatch.setattr(CiddClient, "ask", ask)
    return asked


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        ("node.accept", "no node is named", 2),
        ("node.accept n[1-2] --name a", "2 nodes cannot get 1 name", 2),
        ("node.accept n1 --name a,b", "1 node cannot get 2 names", 2),
        ("node.accept n[9-1]", "counts down", 2),
        ("node.accept n1;reboot", "no host", 2),
        ("node.again", "no node is named", 2),
        ("node.forget", "no node is named", 2),
        ("node.forget n[1-9999]", "more than 1024", 2),
        ("node.trace", "no node is named", 2),
        ("node.trace n[1-2]", "2 nodes are more than one", 2),
        ("node.trace n1 --follow --json", "--follow shows lines", 2),
        ("node.list --state x", "node.list has no option --state", 2),
        ("node.list --access /nonexistent/a.json", "there is no /nonexistent/a.json", 1),
        ("netboot.up --interface eth-none", "there is no interface eth-none", 2),
        ("netboot.up --interface lo", "there is no interface lo for nodes", 2),
        ("netboot.up", "no interface is named", 2),
        ("netboot.up --interface a --port x", "--port is to be a whole number", 2),
        (f"netboot.up --interface a --port {'1' * 4400}", "--port is to be a whole number", 2),
        ("netboot.up --interface a --at-once 99999", "--at-once is to be", 2),
        ("netboot.up eth1", "eth1", 2),
        ("netboot.status", "no netboot server runs", 1),
        ("netboot.start", "netboot", 2),
    ],
)
def test_what_is_refused(here: Path, words: str, said: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines, and nothing is changed or asked."""
    monkeypatch.setattr(netboot, "_paths", lambda: Paths(here / "none"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert said in answered(here, words.split(), status)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"url": "https://a:1"}', b'{"url": "ftp://x", "fingerprint": "0", "token": "t"}', b"\xff"]
    + [
        json.dumps({"url": url, "fingerprint": fingerprint, "token": token}).encode()
        for url, fingerprint, token in (
            ("https://a:x", "0" * 64, "t"),
            ("https://a:65536", "0" * 64, "t"),
            ("https://[a:1", "0" * 64, "t"),
            ("https://a:1", "\xe9" * 64, "t"),
            ("https://a:1", "0" * 64, "t\nX-Other: 1"),
            ("https://a:1", "0" * 64, "\u20ac"),
        )
    ],
)
def test_a_damaged_access_file(here: Path, access: Path, content: bytes) -> None:
    """It is named."""
    access.write_bytes(content)
    assert "netboot.up" in answered(here, ["node.list", "--access", str(access)], 1)


@pytest.mark.parametrize("answer", [b"", b"{}", b"[5]", b'[{"name": "n1"}]', b"<html>"])
def test_a_damaged_answer(
    here: Path, access: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is our error, whatever the server says; to a job it is as if there were no cidd."""
    monkeypatch.setattr(CiddClient, "ask", lambda *_: answer)
    assert "what cidd says" in answered(here, ["node.list", "--access", str(access)], 1)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    words = ["-j", "1", "-n", "n1", "-i", "compute-1-0", f"--access={access}"]
    assert cidcapt.main(words) == cidcapt.UNREACHABLE
    assert "error: what cidd says of the job" in capsys.readouterr().err


def test_nodes_are_shown(here: Path, access: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table, with who waits to be vouched for; the same as JSON."""
    answers(monkeypatch, lambda *_: NODES)
    done = ran(here, ["node.list", "--access", str(access)])
    assert done.stdout.splitlines()[0].split() == node.HEADER
    assert "fetch 40 %" in done.stdout
    assert "1 node to vouch for: cncp node.accept node-525400000002" in done.stderr
    shown = json.loads(ran(here, ["node.list", "--json", "--access", str(access)]).stdout)
    assert [found["name"] for found in shown] == ["n1", "node-525400000002"]


def test_nodes_are_accepted_by_several_names(here: Path, access: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of both lists."""
    asked = answers(monkeypatch, lambda *_: {**NODES[1], "state": "ready"})
    ran(here, ["node.accept", "a,b", "--name", "n[7-8]", "--access", str(access)])
    assert asked == ["POST /v1/nodes/a?name=n7", "POST /v1/nodes/b?name=n8"]


def test_some_cannot(here: Path, access: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are done, and how many could not is said."""

    def answer(_: str, target: str) -> object:
        if not target.startswith("/v1/nodes/n2"):
            raise RefusedError(CiddError("it is alive", 409, "wait"))
        return {}

    answers(monkeypatch, answer)
    done = ran(here, ["node.again", "n[1-3]", "--access", str(access)])
    assert done.returncode == 1
    assert done.stdout.startswith("n2: ")
    assert "n1: it is alive, and 1 more of 3" in done.stderr


def test_a_trace_goes_on(here: Path, access: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the last event that was shown; where nothing is known of a node, that is an error."""
    event = {"number": 7, "when": 1.0, "node": "n1", "state": "alive", "image": "c-1-0", "text": "\x1b[2J"}
    asked = answers(monkeypatch, lambda _, target: [event] if "after=0" in target else [])
    done = ran(here, ["node.trace", "n1", "--access", str(access)])
    assert asked == ["GET /v1/nodes/n1/events?after=0", "GET /v1/nodes/n1/events?after=7"]
    assert "alive" in done.stdout
    assert "\x1b" not in done.stdout
    answers(monkeypatch, lambda *_: [])
    assert "nothing is known" in answered(here, ["node.trace", "n1", "--access", str(access)], 1)


def test_lists_are_those_of_jobs() -> None:
    """Whoever reads them."""
    assert cidcapt.node_names("n[1-2]") == ("n1", "n2")
    with pytest.raises(UsageError):
        cidcapt.node_names(" ")
