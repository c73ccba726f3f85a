"""Functions of other Pythons are refused; those of this one never are."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ipyparallel.serialize import codeutil, deserialize_object, serialize_object

from cncp.serve import foreign_code
from cncp.serve.foreign_code import ForeignCode

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"

COMPILED = {
    # def h(a): import os; return os.getpid() + a.b
    "3.11": "9700640164006c007d017c01a001 00*20 a600 00*4 ab00 00*8 7c006a02 00*8 7a000000 5300",
    "3.12": "9700640164006c007d017c016a03 00*18 ab00 00*6 7c006a04 00*18 7a000000 5300",
    "3.13": "9500530153004b006e0155015203 00*18 3500 00*6 55005204 00*18 2d000000 2400",
}

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 has nothing to tell it by")


def written(text: str) -> bytes:
    """Return bytes of words in hex, the units of the interpreter's own as 00*N."""
    return b"".join(bytes(int(word[3:])) if "*" in word else bytes.fromhex(word) for word in text.split())


def codes(made: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all that are in it."""
    yield made
    for constant in made.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def test_what_this_python_compiles_is_never_refused() -> None:
    """A part of the standard library, and all of this repository's code."""
    import asyncio
    import json

    folders = [Path(module.__file__ or "").parent for module in (asyncio, json, foreign_code)]
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for code in codes(compile(path.read_bytes(), str(path), "exec")):
            foreign_code.check(code)


@pytest.mark.parametrize("version", [version for version in COMPILED if version != HERE])
def test_a_client_with_another_python_is_told(version: str) -> None:
    """Which one it has, which one the engines have, and what works."""
    parts = [getattr(test_what_this_python_compiles_is_never_refused.__code__, f"co_{name}") for name in _names()]
    parts[_names().index("code")] = written(COMPILED[version])
    # 3.11 and 3.12 begin functions alike: only one of them knows the other.
    alike = {"3.11", "3.12"}
    runs = "another Python" if version in alike and HERE not in alike else f"Python {version}"
    with pytest.raises(ForeignCode, match=f"{runs}, the engines {HERE}") as caught:
        foreign_code.code(*parts)
    assert "cncp shell" in str(caught.value)


@pytest.mark.parametrize("version", [version for version in COMPILED if version != HERE])
def test_what_ipyparallel_itself_sends_is_here(version: str) -> None:
    """Data comes and goes with clients of other Pythons: the functions for that are the engine's own."""
    from ipyparallel import util

    given = {"code": written(COMPILED[version]), "filename": "/x/site-packages/ipyparallel/util.py", "name": "_push"}
    sample = test_what_this_python_compiles_is_never_refused.__code__
    parts = [given.get(name, getattr(sample, f"co_{name}")) for name in _names()]
    assert foreign_code.code(*parts) is util._push.__code__


def test_a_client_of_before_3_11_is_told() -> None:
    """Its code has two parts less."""
    with pytest.raises(ForeignCode, match=r"3\.10 or older"):
        foreign_code.code(*range(16))


def test_functions_come_through_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the way that ipyparallel sends them, with their closures and what is in them."""
    monkeypatch.setattr(codeutil, "code_ctor", codeutil.code_ctor)
    foreign_code.refuse_foreign()
    assert codeutil.code_ctor is foreign_code.code
    sent: Callable[[int], Any] = _made(3)
    got, _ = deserialize_object(serialize_object(sent))
    assert got(4) == sent(4) == [12, 24]


def _made(factor: int) -> Callable[[int], list[int]]:
    def function(number: int) -> list[int]:
        return [factor * number * value for value in range(3) if value]

    return function


def _names() -> list[str]:
    return list(codeutil._code_attr_names)
