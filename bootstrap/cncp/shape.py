"""What is read has a shape, which is held in one place before anything uses it.

A shape is a type as it stands in an annotation (``str``, ``int | None``, ``list[int]``,
``tuple[str, ...]``, ``Mapping[str, int]``, ``Literal["a", "b"]``), a dataclass, of whose fields those
with a default may be missing, or a table of the keys that an object must have and their shapes.
Keys beside those are another version's and do no harm. Standard library only.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import functools
import json
import os
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_LARGEST = 2**63
"""What no number of a machine is beyond; neither infinity nor what is not a number is below it."""


class Misfit(ValueError):
    """A value that does not have the shape that is wanted; its text says where and why."""


def parse(content: bytes | str) -> Any:
    """Read JSON. Raises Misfit, whatever is wrong with it."""
    try:
        return json.loads(content)
    except RecursionError:
        raise Misfit("it is nested too deep") from None
    except ValueError as error:
        raise Misfit(f"it is not JSON: {error}") from None


def made(shape: Any, value: Any, where: str = "it") -> Any:
    """Return JSON types as a value of a shape. Raises Misfit; ``where`` names the value in that."""
    if isinstance(shape, dict):
        return {**_object(value, where), **_fields(shape, value, where, ())}
    if dataclasses.is_dataclass(shape):
        kind: Any = shape
        optional, hints = _known(kind)
        return kind(**_fields(hints, _object(value, where), where, optional))
    return _by_origin(get_origin(shape) or shape, get_args(shape), value, where)


def _by_origin(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if origin in (Union, types.UnionType):
        for argument in arguments:
            with contextlib.suppress(Misfit):
                return made(argument, value, where)
        raise Misfit(f"{where} is {_named(value)}")
    if origin is Literal:
        if any(value == argument and type(value) is type(argument) for argument in arguments):
            return value
        raise Misfit(f"{where} is none of {', '.join(map(str, arguments))}")
    if origin in (list, tuple, collections.abc.Sequence):
        return _row(origin, arguments, value, where)
    if origin in (dict, collections.abc.Mapping):
        key, shape = arguments or (str, Any)
        return {
            made(key, name, where): made(shape, one, f"{where}.{name}") for name, one in _object(value, where).items()
        }
    return _plain(origin, value, where)


def _row(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise Misfit(f"{where} is {_named(value)} and no list")
    if origin is tuple and Ellipsis not in arguments:
        if len(value) != len(arguments):
            raise Misfit(f"{where} has {len(value)} elements and not {len(arguments)}")
        return tuple(made(shape, one, where) for shape, one in zip(arguments, value, strict=True))
    shape = arguments[0] if arguments else Any
    found = [made(shape, one, f"{where}[{number}]") for number, one in enumerate(value)]
    return found if origin is list else tuple(found)


def _plain(kind: Any, value: Any, where: str) -> Any:
    holds: Mapping[Any, Callable[[], bool]] = {
        Any: lambda: True,
        types.NoneType: lambda: value is None,
        None: lambda: value is None,
        bool: lambda: isinstance(value, bool),
        int: lambda: _is_number(value) and isinstance(value, int),
        float: lambda: _is_number(value),
        str: lambda: isinstance(value, str) and _is_text(value),
    }
    if not holds[kind]():
        raise Misfit(f"{where} is {_named(value)} and no {getattr(kind, '__name__', kind)}")
    return float(value) if kind is float else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_text(value: str) -> bool:
    """Tell whether a program or the file system could be given this text."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Misfit(f"{where} is {_named(value)} and no object")
    return value


def _fields(
    shapes: Mapping[str, Any], value: Mapping[str, Any], where: str, optional: collections.abc.Container[str]
) -> dict[str, Any]:
    missing = [name for name in shapes if name not in value and name not in optional]
    if missing:
        raise Misfit(f"{where} has no {missing[0]}")
    return {name: made(one, value[name], f"{where}.{name}") for name, one in shapes.items() if name in value}


@functools.cache
def _known(shape: Any) -> tuple[frozenset[str], Mapping[str, Any]]:
    """Return which fields of a dataclass may be missing, and the shapes of all."""
    hints = get_type_hints(shape)
    fields = [field for field in dataclasses.fields(shape) if field.init]
    none = dataclasses.MISSING
    optional = frozenset(
        field.name for field in fields if field.default is not none or field.default_factory is not none
    )
    return optional, {field.name: hints[field.name] for field in fields}


def _named(value: Any) -> str:
    """Name a value without showing it: it may be a secret, or endless."""
    words = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return words.get(type(value), "nothing")
