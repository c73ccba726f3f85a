"""The tools, virtualenv and uv, from each of the places that a machine may have them in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.install import bootstrap_tools, wheels
from cncp.install.http import NotServed, Web
from cncp.install.simple_index import Index, NoWheel
from cncp.install.wheels import Locked, Target
from cncp.process import run

from .server import IndexServer
from .support import clean


class Unreachable(Index):
    """Indexes that only pip can get at: behind a keyring, say."""

    def fetch(self, locked: Locked, target: Target) -> tuple[str, bytes]:  # noqa: ARG002  # as it is called
        """Fail."""
        raise NotServed(f"packages.invalid did not serve {locked.name}", 401)


def make(
    home: Path, options: Mapping[str, str], kind: type[Index] = Unreachable, python: str = sys.executable
) -> bootstrap_tools.Kit:
    """Make a kit for the Python of the tests."""
    home.mkdir(exist_ok=True)
    return bootstrap_tools.ensure(home, python, wheels.here(), kind(options, Web(options, {})), None)


def only(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Have the machine lack every way to a pip but these."""
    monkeypatch.setattr(bootstrap_tools, "_has", lambda _, module: module in modules)


def settle(monkeypatch: pytest.MonkeyPatch, home: Path, **variables: str) -> None:
    """Give this process the environment of a user whose pip knows one index."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in clean(home, **variables).items():
        monkeypatch.setenv(name, value)


def version(kit: bootstrap_tools.Kit, program: str) -> str:
    """Return what a program of the kit says its version is."""
    words = [sys.executable, "-m", program] if program == "virtualenv" else [str(kit.folder / "bin" / program)]
    return run([*words, "--version"], env={"PYTHONPATH": str(kit.folder)}).stdout


def test_every_way_to_a_pip(home: Path, index: IndexServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed pip, the one of venv, the one of an installed virtualenv: all end with the same kit."""
    for way in ("pip", "ensurepip", "virtualenv"):
        with monkeypatch.context() as patch:
            settle(patch, home, PIP_INDEX_URL=index.url)
            python = sys.executable
            if way == "virtualenv":
                # One that has it without PYTHONPATH, which is left aside.
                python = str(home / "python")
                Path(python).write_text(
                    f'#!/bin/sh\n[ "$1" = -E ] && shift\nPYTHONPATH={home}/pip/tools exec {sys.executable} "$@"\n'
                )
                Path(python).chmod(0o755)
            only(patch, way)
            kit = make(home / way, {"index-url": index.url}, python=python)
            assert kit.uv() is not None
            assert "virtualenv" in version(kit, "virtualenv")
            assert version(kit, "uv").startswith("uv ")
            assert [path.name for path in (home / way).iterdir()] == ["tools"]
    index.asked.clear()
    assert make(home / "pip", {}).uv() is not None
    assert index.asked == []


def test_a_machine_without_a_wheel_of_uv(home: Path, index: IndexServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By index and by pip there is a kit without uv, and it is not asked for again."""
    index.hidden = {"uv"}
    settle(monkeypatch, home, PIP_INDEX_URL=index.url)
    for kind in (Index, Unreachable):
        kit = make(home / kind.__name__, {"index-url": index.url}, kind)
        assert kit.uv() is None
        assert (kit.folder / "virtualenv").is_dir()
        index.asked.clear()
        assert make(home / kind.__name__, {"index-url": index.url}, kind).uv() is None
        assert index.asked == []


def test_a_machine_that_has_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of the operating system that would help are named."""
    only(monkeypatch)
    monkeypatch.setattr("cncp.install.simple_index._default", lambda: None)
    with pytest.raises(CncpError) as caught:
        make(home / "a", {}, Index)
    assert "neither pip nor venv nor virtualenv" in caught.value.message
    assert "python3-pip" in caught.value.hint
    with pytest.raises(NotServed, match=r"packages\.invalid did not serve"):
        make(home / "b", {"index-url": "http://packages.invalid/"})


def test_uv_that_breaks_off(home: Path, index: IndexServer) -> None:
    """The kit serves without uv, and the next run tries to get it again."""

    class Broken(Index):
        def fetch(self, locked: Locked, target: Target) -> tuple[str, bytes]:
            """Break off with uv."""
            if locked.name == "uv":
                raise NotServed("the index did not serve uv: the connection was reset", 0)
            return super().fetch(locked, target)

    assert make(home / "a", {"index-url": index.url}, Broken).uv() is None
    assert make(home / "a", {"index-url": index.url}, Index).uv() is not None


def test_an_index_of_several(home: Path, index: IndexServer) -> None:
    """One that does not have a project, or does not answer, is no obstacle while another has it."""
    options = {"index-url": "http://127.0.0.1:9/simple", "extra-index-url": f"{index.url}/nowhere {index.url}"}
    locked = next(
        package
        for package in wheels.read_lock(bootstrap_tools.LOCK, wheels.here().environment)
        if package.name == "distlib"
    )
    name, content = Index(options, Web(options, {})).fetch(locked, wheels.here())
    assert locked.is_wheel(name)
    wheels.check(content, locked, name)
    wrong = Locked("distlib", locked.version, frozenset({"0" * 64}))
    with pytest.raises(NoWheel):
        Index({"index-url": index.url}, Web({}, {})).fetch(wrong, wheels.here())
