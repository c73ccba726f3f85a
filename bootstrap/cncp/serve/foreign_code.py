"""Functions that another Python has compiled are refused: to run them would crash the engine, or worse.

ipyparallel sends functions as their bytecode, which is another in every minor version, and no message says which
one its client runs. So the code itself is looked at, by what is known of ``opcode`` of CPython 3.11 to 3.14.
"""

from __future__ import annotations

import functools
import importlib
import opcode
import re
import sys
import types
from typing import Any

_CACHES: Any = getattr(opcode, "_inline_cache_entries", {})
"""How many units follow an instruction for the interpreter's own use, by number or by name; 3.11 and later."""

_RESUME = {149: "3.13", 128: "3.14"}
"""How other versions begin a function, where that tells them apart. 3.11 and 3.12 have the same."""

_FIRST = 8  # instructions within which a function begins: closures and generators have some before it


class ForeignCode(TypeError):
    """A function of a client whose Python is another than the engines'."""


def refuse_foreign() -> None:
    """Have ipyparallel make code only of what this Python has compiled."""
    from ipyparallel.serialize import codeutil

    codeutil.code_ctor = code


def code(*parts: Any) -> types.CodeType:
    """Return a code object of its parts, as ``types.CodeType`` does. Raises ForeignCode."""
    try:
        made = types.CodeType(*parts)
    except (TypeError, ValueError):
        # Until 3.10 there were two parts less.
        raise ForeignCode(_sentence("3.10 or older" if len(parts) == 16 else "")) from None
    try:
        check(made)
    except ForeignCode:
        # Push and pull send a function of ipyparallel's, which is here as well.
        known = _of_ipyparallel(made)
        if known is None:
            raise
        return known
    return made


def _of_ipyparallel(made: types.CodeType) -> types.CodeType | None:
    """Return the code of the function of ipyparallel's own that this one is, None where it is no such."""
    module = re.fullmatch(r".*[\\/]ipyparallel[\\/](\w+)\.py", made.co_filename)
    if module is None:
        return None
    known: types.CodeType | None = getattr(
        getattr(importlib.import_module(f"ipyparallel.{module[1]}"), made.co_name, None), "__code__", None
    )
    return known


def check(made: types.CodeType) -> None:
    """Raise ForeignCode where this Python cannot have compiled a code object."""
    if not _is_ours(made.co_code):
        begins = [version for number, version in _RESUME.items() if number in made.co_code[: 2 * _FIRST : 2]]
        same = {(3, 11): "3.12", (3, 12): "3.11"}.get(sys.version_info[:2], "")
        raise ForeignCode(_sentence(same if _OWN in made.co_code[: 2 * _FIRST : 2] else "".join(begins[:1])))


def _sentence(version: str) -> str:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    runs = f"Python {version}" if version else "another Python"
    return (
        f"this client runs {runs}, the engines {here}: a function cannot be sent from one to the other. "
        f"Use a client with Python {here} (cncp shell, cncp run); code as text works: view.execute('...'), %px"
    )


_OWN = opcode.opmap.get("RESUME", -1)


@functools.lru_cache(maxsize=4096)
def _is_ours(text: bytes) -> bool:
    """Tell whether every instruction is one, with as many units after it as there are here, and a beginning.

    What passes although another Python made it has no call, no global name, no attribute, no comparison and no
    loop, and computes the same here.
    """
    if _OWN < 0:
        # 3.10: there is nothing to tell it by but the number of parts.
        return True
    begins = False
    place = 0
    while place < len(text):
        number = text[place]
        name = opcode.opname[number]
        if name.startswith("<") or name == "CACHE":
            return False
        begins = begins or number == _OWN
        caches = _CACHES.get(name, 0) if isinstance(_CACHES, dict) else _CACHES[number]
        place += 2
        if any(text[place : place + 2 * caches : 2]):
            return False
        place += 2 * caches
    return begins and place == len(text)
