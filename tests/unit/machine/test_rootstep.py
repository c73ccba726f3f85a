"""What root does for an account's cluster: only what is in the list, for names of ours, of that account."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cncp.accounts import Account
from cncp.errors import CncpError
from cncp.machine import chef_api
from cncp.machine.node import Node
from cncp.machine.resources import File, Link
from cncp.machine.root import authority, step
from cncp.machine.root.authority import Authority
from cncp.machine.root.requests import Request
from cncp.machine.services import systemd
from cncp.process import Completed
from cncp.records import Record

ADA = Account("ada", 1000, 1000, "/home/ada")
BOB = Account("bob", 1001, 1001, "/home/bob")
CODE = Path(__file__).resolve().parents[3] / "bootstrap"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Have units in a folder of the test's own, and commands noted instead of run."""
    found: list[Sequence[str]] = []

    def run(argv: Sequence[str], **_: Any) -> Completed:
        found.append(argv)
        return Completed(tuple(argv), 0, b"", "")

    monkeypatch.setattr(step, "run", run)
    monkeypatch.setattr(systemd, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "system").mkdir()
    return found


@pytest.fixture
def node(home: Path, tmp_path: Path) -> Node:
    """Return a node of ada's, whose units are the system's."""
    given = {"settings": {"engines": 1, "memory": "none"}}
    made = chef_api.describe(chef_api.Given.read(given), {"HOME": str(home), "CNCP_HOME": str(tmp_path / "h")})
    account = dataclasses.replace(ADA, home=str(home))
    return dataclasses.replace(made, account=account, manager="systemd", scope="system", host="gold")


@pytest.fixture
def record(node: Node, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a request for the units of a controller and an engine, as it is made."""
    asked: list[dict[str, Any]] = []

    def ask(_: object, request: Request, kind: type[Record]) -> Record:
        asked.append(request.asked())
        return kind()

    monkeypatch.setattr(Authority, "_ask", ask)
    Authority(ADA).units(node, {"controller": "0a", "engine-0": "0b"})
    return asked[0]


def answer(asked: Mapping[str, Any], account: Account = ADA) -> dict[str, Any]:
    """Have a request answered as it comes over the socket."""
    return step._answer(account, json.dumps(asked).encode()).to_json()


def tree(folder: Path) -> dict[str, str]:
    """Return what is in a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def test_units_are_the_accounts_and_go_again(ran: list[Sequence[str]], record: dict[str, Any], tmp_path: Path) -> None:
    """They are rendered by root, run as the account, change nothing a second time, and are removed by their names."""
    assert answer(record)["changed"] != []
    found = tree(tmp_path / "system")
    assert sorted(found) == [
        "cncp-controller.service",
        "cncp-controller.service.d/10-cncp.conf",
        "cncp-engine@.service",
        "cncp-engine@.service.d/10-cncp.conf",
        "cncp.target",
        "cncp.target.wants/cncp-controller.service",
        "cncp.target.wants/cncp-engine@0.service",
        "default.target.wants/cncp.target",
    ]
    drop_ins = [text for name, text in found.items() if name.endswith(".conf")]
    assert all("\nUser=ada\n" in text and text.count("User=") == 1 for text in drop_ins)
    assert ran == [["systemctl", "daemon-reload"]]
    assert answer(record) == {"changed": []}
    fewer = {**record, "services": {"controller": "0a"}}
    assert [change for change in answer(fewer)["changed"] if not change.startswith("remove ")] == []
    assert sorted(tree(tmp_path / "system")) == [unit for unit in sorted(found) if "engine" not in unit]
    answer({"do": "remove", "prefix": "cncp", "all": False})
    assert list((tmp_path / "system").iterdir()) == []


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("do", "run"),
        ("do", None),
        ("home", "relative"),
        ("home", "/home/ada\nExecStartPre=+/bin/sh"),
        ("home", "/home/\ud800"),
        ("login", "/home/\udcff"),
        ("home", 5),
        ("host", "gold\nUser=root"),
        ("host", "%H"),
        ("instance", "../../x"),
        ("login", "/x\r[Service]"),
        ("login", ""),
        ("profile", "../../../tmp/x"),
        ("profile", "x y"),
        ("memory", "1G\nUser=root"),
        ("memory", "lots"),
        ("memory", {"x": 1}),
        ("services", {"sshd": "0a"}),
        ("services", {"engine-0/../../x": "0a"}),
        ("services", {"engine-0": "0a\nUser=root"}),
        ("services", {"engine-0": None}),
        ("services", {"engine-\u0663": "0a"}),
        ("services", ["engine-0"]),
    ],
)
def test_what_is_not_in_the_list_is_refused(
    where: str, value: Any, ran: list[Sequence[str]], record: dict[str, Any], tmp_path: Path
) -> None:
    """A record of another form is an error of two lines, and nothing is written, removed or run."""
    found = answer({**record, where: value})
    assert set(found) == {"error", "hint"}
    assert (tree(tmp_path / "system"), ran) == ({}, [])


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100000, b"\xff", b'{"do": ["units"]}', b"null"])
def test_what_is_no_request_is_refused(content: bytes, ran: list[Sequence[str]]) -> None:
    """Whatever comes over the socket is answered."""
    assert set(step._answer(ADA, content).to_json()) == {"error", "hint"}
    assert ran == []


@pytest.mark.parametrize("changed", [{}, {"memory": "2G"}, {"profile": "second"}])
def test_root_renders_what_the_account_expects(
    changed: dict[str, Any], ran: list[Sequence[str]], node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few fields of a request are all that units depend on; else each `up` would find something to change."""
    node = dataclasses.replace(node, settings=dataclasses.replace(node.settings, **changed), instance="gold")
    services = dict.fromkeys((*node.services, "tunnel-x", "jupyter"), "0a")
    monkeypatch.setattr(Authority, "_ask", lambda _, asked, __: step.perform(ADA, asked.asked()))
    Authority(ADA).units(node, services)
    expected = {resource.path: resource for resource in systemd.files(node, services)}
    found = {str(tmp_path / "system" / name): text for name, text in tree(tmp_path / "system").items()}
    files = {path: resource.text() for path, resource in expected.items() if isinstance(resource, File)}
    links = {path: resource.target for path, resource in expected.items() if isinstance(resource, Link)}
    assert found == {**files, **links}


@pytest.mark.parametrize(
    "asked",
    [
        {"do": "remove", "prefix": "cncp", "all": True},
        {"do": "disable", "prefix": "cncp"},
        *(
            {"do": "systemctl", "verb": verb, "prefix": "cncp", "names": ["engine-0"]}
            for verb in ("start", "stop", "restart", "reset-failed")
        ),
    ],
)
def test_units_of_another_account_are_not_touched(
    asked: dict[str, Any], ran: list[Sequence[str]], record: dict[str, Any], tmp_path: Path
) -> None:
    """The first line of a drop-in says whose a prefix is."""
    answer(record)
    before = tree(tmp_path / "system")
    ran.clear()
    assert "another cluster's: Rendered by cncp for ada" in answer(asked, BOB)["error"]
    assert "another cluster's" in answer(record, BOB)["error"]
    assert (tree(tmp_path / "system"), ran) == (before, [])


@pytest.mark.parametrize(
    "asked",
    [
        {"do": "systemctl", "verb": "mask", "prefix": "cncp", "names": ["engine-0"]},
        {"do": "systemctl", "verb": "stop", "prefix": "cncp", "names": ["ssh.service"]},
        {"do": "systemctl", "verb": "stop", "prefix": "ssh", "names": ["engine-0"]},
        {"do": "systemctl", "verb": "stop", "prefix": "cncp-../x", "names": []},
        {"do": "systemctl", "verb": "stop", "prefix": "cncp"},
        {"do": "remove", "prefix": "", "all": False},
        {"do": "remove", "prefix": "ssh", "all": False},
        {"do": "disable", "prefix": "/etc"},
    ],
)
def test_no_other_unit_can_be_named(asked: dict[str, Any], ran: list[Sequence[str]]) -> None:
    """Services of ours below a prefix of ours are all there is."""
    assert set(answer(asked)) == {"error", "hint"}
    assert ran == []


def test_what_others_have_put_there_stays(ran: list[Sequence[str]], record: dict[str, Any], tmp_path: Path) -> None:
    """A unit of that name that is none of ours, a mask, and drop-ins beside ours are left as they are."""
    system = tmp_path / "system"
    (system / "cncp.target").write_text("[Unit]\nDescription=mine\n")
    assert "not of cncp's making" in answer(record)["error"]
    (system / "cncp.target").unlink()
    (system / "cncp-engine@.service").symlink_to("/dev/null")
    assert "masked" in answer(record)["error"]
    assert tree(system) == {"cncp-engine@.service": "/dev/null"}
    (system / "cncp-engine@.service").unlink()
    answer(record)
    (system / "cncp-engine@.service.d" / "override.conf").write_text("[Service]\nNice=5\n")
    answer({"do": "remove", "prefix": "cncp", "all": False})
    assert tree(system) == {"cncp-engine@.service.d/override.conf": "[Service]\nNice=5\n"}


def test_lingering_is_the_accounts_own(ran: list[Sequence[str]]) -> None:
    """Nobody else can be named."""
    answer({"do": "linger", "on": True, "account": "bob"})
    answer({"do": "linger", "on": False})
    assert ran == [["loginctl", "enable-linger", "ada"], ["loginctl", "disable-linger", "ada"]]


def test_root_acts_on_files_of_no_account() -> None:
    """The gate through which files are changed is closed to root for anybody else, and so is the environment's word."""
    from cncp import accounts
    from cncp.machine.actor import Actor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.geteuid", lambda: 0)
        with pytest.raises(CncpError, match="root does not act"):
            Actor(ADA)
        with pytest.raises(CncpError, match="root does not act"):
            accounts.account({"CNCP_USER": "nobody"})


def test_the_last_line_of_what_systemctl_says_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root answers it: in lines, of which the last says what is wrong."""
    answered = json.dumps({"status": 5, "said": "Job failed.\nSee the journal."}).encode()
    monkeypatch.setattr(Authority, "at_hand", lambda _: None)
    monkeypatch.setattr(authority, "_exchange", lambda _: answered)
    with pytest.raises(CncpError, match=r"^systemctl start exited with 5: See the journal\.$"):
        Authority(ADA).systemctl(node, "start")


@pytest.mark.parametrize("answered", [b"", b"{", b"[]", b"{}", b'{"status": "5", "program": 5}', b'{"error": 5}'])
def test_what_root_answers_is_held(answered: bytes, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no answer is an error of two lines."""
    monkeypatch.setattr(Authority, "at_hand", lambda _: None)
    monkeypatch.setattr(authority, "_exchange", lambda _: answered)
    with pytest.raises(CncpError, match=r"^root's answer is not readable"):
        Authority(ADA).systemctl(node, "start")
    with pytest.raises(CncpError, match=r"^root's answer is not readable"):
        Authority(ADA).cinc()


def test_it_needs_the_standard_library_alone() -> None:
    """Root's Python has no packages of ours, and reads neither environment nor user folder."""
    code = "import sys; sys.argv = ['x', 'nothing', 'nobody-at-all']; import runpy; runpy.run_path(sys.orig_argv[-1])"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-B", "-c", code, CODE / "asroot.py"], capture_output=True, check=False
    )
    assert done.stderr.decode() == ""
