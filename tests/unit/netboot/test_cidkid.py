"""What an image does for cidd, with a cidd that says what the test wants."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cncp.netboot import cidkid
from cncp.netboot.cidkid import Agent, CiddError, Me, Server
from cncp.rendezvous import certificate
from tests.install.server import serving

ME = Me("https://127.0.0.1:1", "0" * 64, "n1", "compute-1-0", "ab")


def scripted(answers: Sequence[str | int], monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Have an agent run whose cidd gives these verbs, or refuses with a status; return what it did and asked."""
    left, done, asked = list(answers), list[str](), list[str]()

    def ask(_: Server, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        asked.append(json.loads(body)["state"] if body else "task")
        answer = left.pop(0)
        if isinstance(answer, int):
            raise CiddError("no", answer)
        return json.dumps({"verb": answer, "image": "compute-1-1"}).encode()

    monkeypatch.setattr(Server, "ask", ask)
    cidkid.run(Agent(ME, lambda verb, *_: done.append(verb), lambda _: None), lambda _: None, wait_for=lambda _: None)
    assert left == []
    return done, asked


def test_what_is_wrong_in_an_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is told when it changes, and no more when it is gone; what engines join by is fetched once."""
    said = tmp_path / "said"
    sent: list[dict[str, str]] = []
    targets: list[str] = []

    def ask(_: Server, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        targets.append(target.rpartition("/")[2])
        if method == "POST":
            sent.append(json.loads(body))
        if len(targets) > 12:
            return b'{"verb": "switch"}'
        if target.endswith("/rendezvous"):
            said.write_text("no\ncontroller\n" + "x" * 900)
            return b'{"cluster": 1}'
        if len(sent) == 2:
            said.unlink(missing_ok=True)
        return b'{"verb": "none", "rendezvous": "ab"}'

    done: list[tuple[str, str]] = []
    monkeypatch.setattr(Server, "ask", ask)
    agent = Agent(ME, lambda verb, _, text: done.append((verb, text)), print, lambda: cidkid.text(said))
    cidkid.run(agent, print, wait_for=lambda _: None)
    assert done == [("resume", ""), ("join", '{"cluster": 1}'), ("switch", "")]
    assert [report.get("reason", "-")[:14] for report in sent] == ["-", "no controller ", ""]
    assert len(sent[1]["reason"]) == 300
    assert targets.count("rendezvous") == 1
    assert "task?wait=10&rendezvous=ab" in targets


def test_it_leaves_when_it_has_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes work at first, drains, says so, and leaves for what is wanted then."""
    done, asked = scripted(["none", "drain", "switch", "switch"], monkeypatch)
    assert done == ["resume", "drain", "switch"]
    assert asked == ["alive", "task", "rebooting", "task"]


def test_a_job_that_is_cancelled_while_it_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told that it is not to leave, says that it is there, and takes work again."""
    done, _ = scripted(["none", "drain", 409, "none", "switch", "switch"], monkeypatch)
    assert done == ["resume", "drain", "resume", "switch"]


@pytest.mark.parametrize(("digest", "verb"), [("", "leave"), ("ab", "join")])
def test_engines_that_cannot_yet(digest: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was away, they leave or join later, and a job is not kept waiting for that."""
    tried, waited, answers = list[str](), list[float](), ["none"] * 4 + ["switch", "switch"]

    def ask(_: Server, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        if target.endswith("/rendezvous"):
            return b'{"cluster": 1}'
        return json.dumps({"verb": answers.pop(0), "rendezvous": digest}).encode()

    def act(asked: str, _: str, __: str) -> None:
        tried.append(asked)
        if asked == verb and len(tried) < 4:
            raise CiddError("no controller")

    monkeypatch.setattr(Server, "ask", ask)
    cidkid.run(Agent(ME, act, print), print, wait_for=waited.append)
    assert tried == ["resume", verb, verb, verb, "switch"]
    assert waited == [1.0, 2.0]


def test_a_clock_that_has_fallen_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from the serial that cidd has had; one that makes no sense, or again, is no reason to go on."""
    serials = list[int]()
    told = [9_000, 0, 5]

    def ask(_: Server, *__: object, **headers: str) -> bytes:
        serials.append(int(headers["X_Cncp_Serial"]))
        if len(serials) in (1, 3, 4):
            raise CiddError("a higher serial", 403, serial=told.pop(0))
        return b'{"verb": "none"}'

    monkeypatch.setattr(Server, "ask", ask)
    monkeypatch.setattr(time, "time_ns", lambda: 7_000)
    agent = Agent(ME, lambda *_: None, print)
    agent.announce()
    for _ in range(2):
        with pytest.raises(CiddError, match="a higher serial"):
            agent.announce()
    assert serials == [7, 9_001, 9_002, 9_003]


@pytest.mark.parametrize("serial", ['"x"', "null", "[]", "1e999", "{}"])
def test_a_refusal_that_makes_no_sense(serial: str) -> None:
    """It is one all the same."""
    content = f'{{"error": "no", "hint": "", "serial": {serial}}}'.encode()
    assert cidkid.refusal(403, content)[1:] == (403, "", 0)
    assert cidkid.refusal(500, b"[]")[3] == 0


def test_an_image_that_has_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel was told so, and it is told with the boot that it was; where neither can be read it is as before."""
    assert cidkid.begun_anew(tmp_path) == ""
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("0a-1b\n")
    for words, fresh in (("rw cncp.fresh quiet\n", "0a-1b"), ("rw cncp.freshest\n", "")):
        (tmp_path / "cmdline").write_text(words)
        assert cidkid.begun_anew(tmp_path) == fresh
    sent: list[bytes] = []

    def ask(_: Server, method: str, target: str, body: bytes, **headers: str) -> bytes:
        sent.append(body)
        return b'{"verb": "none"}'

    monkeypatch.setattr(Server, "ask", ask)
    Agent(ME, lambda *_: None, print, fresh="0a-1b").announce()
    assert json.loads(sent[0])["fresh"] == "0a-1b"


def test_an_agent_that_is_begun_anew_while_it_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no work in between."""
    done, _ = scripted(["drain", "drain", "blancmange", "blancmange"], monkeypatch)
    assert done == ["drain", "blancmange"]


def test_programs_of_an_image(tmp_path: Path) -> None:
    """What takes work again may be missing; the others may not, and how they fail is told."""
    act = cidkid.programs(tmp_path)
    act("resume", "", "")
    with pytest.raises(CiddError, match="cannot be run"):
        act("drain", "", "")
    program = tmp_path / "switch"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(CiddError, match="status 3"):
        act("switch", "compute-1-1", "")


@pytest.mark.parametrize("answer", [b"", b"[]", b"<html>", b"\xff", b'{"verb": "rm"}'])
def test_what_is_no_answer(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and ends no agent."""
    monkeypatch.setattr(Server, "ask", lambda *_, **__: answer)
    with pytest.raises(CiddError, match="does not know"):
        Agent(ME, lambda *_: None, print).announce()


def test_an_answer_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, and not taken for whole where it was cut."""
    fingerprint = certificate.ensure(tmp_path, "cidd")
    (tmp_path / "nodes").write_bytes(b"x" * 100)
    with serving(tmp_path, certificate.path(tmp_path)) as listening:
        server = Server(f"https://{listening.address}", fingerprint)
        monkeypatch.setattr(cidkid, "_LARGEST", 100)
        assert len(server.ask("GET", "/files/nodes")) == 100
        monkeypatch.setattr(cidkid, "_LARGEST", 99)
        with pytest.raises(CiddError, match="more than"):
            server.ask("GET", "/files/nodes")


@pytest.mark.parametrize("url", ["", "http://a:1", "https://a", "https://a:x", "https://a:65536", "https://[a:1"])
def test_what_is_no_address(url: str) -> None:
    """It is said, however it is wrong."""
    with pytest.raises(CiddError, match="no address of cidd"):
        Server(url, "0" * 64)


def test_who_it_is_is_damaged(tmp_path: Path) -> None:
    """It says so, whatever the file holds."""
    for content in (b"", b"[]", b"{}", b"\xff"):
        (tmp_path / "me.json").write_bytes(content)
        with pytest.raises(CiddError, match="does not say who this is"):
            Me.read(tmp_path / "me.json")
