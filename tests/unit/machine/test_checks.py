"""What a machine cannot serve is refused before anything is changed or kept."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from cncp.config import sources
from cncp.config.asked import request
from cncp.errors import CncpError, PreflightError, UsageError
from cncp.files import to_json
from cncp.ipp import keys
from cncp.machine.node import Node
from cncp.machine.ops import apply, checks, main

from ..refusal import answered, not_installed, refused, tree

FOREIGN = "192.0.2.77"
"""No machine has it: RFC 5737."""

NEVER_MADE = f"/tmp/cncp-{os.getpid()}-none"
"""A home short enough for supervisord's socket; nothing gets as far as to make it."""

ROOT = Path(__file__).resolve().parents[3]


def settings(**changed: Any) -> Any:
    """Return settings that are the defaults but for some."""
    return dataclasses.replace(sources.complete([]), **changed)


def insist(python: str = sys.executable, folders: tuple[Path, ...] = (), **changed: Any) -> None:
    """Hold settings against this machine, as one with a controller."""
    checks.insist(settings(**changed), controller=True, folders=folders, python=python)


def without_sqlite(folder: Path) -> str:
    """Return a Python that imports no sqlite3."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\ncase "$*" in *sqlite3*) exit 1 ;; esac\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_what_this_machine_can_serve_is_let_through(home: Path) -> None:
    """Nothing is found where nothing is wrong, and nothing is made to find that out."""
    (home / "r.txt").write_text("")
    before = tree(home)
    for listen in ("0.0.0.0", "127.0.0.1"):
        insist(folders=(home / "a" / "b",), listen=listen, database="sqlite", requirements=str(home / "r.txt"))
    assert tree(home) == before


@pytest.mark.parametrize("changed", [{"database": "sqlite"}, {"jupyter": True}])
def test_a_python_without_sqlite3_serves_neither_its_database_nor_jupyter(changed: dict[str, Any], home: Path) -> None:
    """The Python that services run with is asked."""
    with pytest.raises(PreflightError, match="without sqlite3"):
        insist(without_sqlite(home), **changed)
    insist(without_sqlite(home))


@pytest.mark.parametrize("made", ["a file", "a folder of others"])
def test_a_folder_that_cannot_be_written_is_named(made: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile below something that is no folder, or below one that is not ours to write."""
    place = home / "x"
    if made == "a file":
        place.write_text("")
    else:
        place.mkdir()
        # root may write everywhere.
        monkeypatch.setattr(os, "access", lambda path, *_, **__: path != place)
    with pytest.raises(PreflightError, match=str(place)):
        insist(folders=(place / "profile_cncp",))


def test_requirements_that_cannot_be_read_are_named(home: Path) -> None:
    """A plan sees it, too, which installs nothing."""
    with pytest.raises(UsageError, match="does not exist"):
        insist(requirements=str(home / "none.txt"))
    with pytest.raises(UsageError, match="cannot be read"):
        insist(requirements=str(home))


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--listen", FOREIGN], 2, "listen = "),
        (["--requirements", "none.txt"], 2, "requirements file"),
        (["--engines", "gpus"], 4, "no GPU"),
    ],
)
@pytest.mark.parametrize("program", ["baremetal.sh", "plan", "up"])
def test_a_command_line_that_asks_for_it_is_refused(
    program: str, words: list[str], status: int, said: str, home: Path
) -> None:
    """By all that takes settings, with an exit code that says so, and without a change."""
    named = {"CUDA_VISIBLE_DEVICES": "", "CNCP_HOME": NEVER_MADE}
    if program == "baremetal.sh" and status == 4:
        assert said in refused(home, ["bash", ROOT / program, *words], status, **named)
    elif program == "baremetal.sh":
        assert said in not_installed(home, words, status, **named)
    else:
        assert said in answered(home, [program, *words], status, **named)


def describe(home: Path, **flags: str) -> Node:
    """Return the node that a command line asks for."""
    return apply.describe(request({"HOME": str(home), "CNCP_HOME": NEVER_MADE}, file=None, flags=flags, forget=False))


def test_ports_that_others_use_are_refused_before_anything_changes(home: Path) -> None:
    """The controller's own range with a stranger in it, and a range that is asked for."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        low = min(port, 65535 - 17)
        pinned(home, tuple(range(20000, 20018)))
        with pytest.raises(CncpError, match=r"only \d+ of the ports"):
            describe(home, ports=f"{low}-{low + 17}")
        pinned(home, (port, *range(20000, 20017)))
        with pytest.raises(CncpError, match=rf"ports are taken: .*{port}"):
            describe(home)


def pinned(home: Path, ports: tuple[int, ...]) -> None:
    """Leave an identity with these ports."""
    path = home / ".ipython" / "profile_cncp" / "security" / "cncp-identity.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(keys.Identity.new("k", (b"p" * 40, b"s" * 40), ports)))


def test_nothing_is_kept_of_a_command_line_that_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run without it goes on as before, and nothing was installed for it."""
    monkeypatch.setattr(main, "bring_environment", lambda *_: pytest.fail("installed"))
    asked = request({"HOME": str(home), "CNCP_HOME": NEVER_MADE}, file=None, flags={"listen": FOREIGN}, forget=False)
    with pytest.raises(UsageError):
        main.converge(asked, None)  # type: ignore[arg-type]  # nothing is said
    assert not list(home.iterdir())
    assert not Path(NEVER_MADE).exists()


@pytest.mark.parametrize(("bytes_", "files", "said"), [(0, 10**6, "is full"), (10**9, 3, "inodes"), (10**9, 10**6, "")])
def test_a_full_disk_is_named(bytes_: int, files: int, said: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of bytes or of inodes; one disk is named once."""
    seen = dataclasses.make_dataclass("S", ["f_bavail", "f_frsize", "f_files", "f_favail"])(bytes_, 1, 10**6, files)
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    found = list(checks.full((home, home / "a")))
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_a_disk_without_a_number_of_files_is_not_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Btrfs says 0 of 0 inodes."""
    seen = dataclasses.make_dataclass("S", ["f_bavail", "f_frsize", "f_files", "f_favail"])(10**9, 1, 0, 0)
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    assert not list(checks.full((home,)))


def test_what_may_be_a_mistake_is_a_doubt() -> None:
    """More memory than there is limits nothing, and a name may mean something elsewhere."""
    assert "more than this machine has" in "".join(checks.doubts(settings(memory="999999G")))
    assert "resolve" in "".join(checks.doubts(settings(external="no-such-host.invalid")))
    assert not list(checks.doubts(settings(memory="128M", external="127.0.0.1")))
