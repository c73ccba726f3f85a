"""What crosses a file, a process or a host is a record: a dataclass, held once against the types of its fields.

A type says what may stand in a field: ``str``, ``int | None``, ``tuple[str, ...]``, ``Mapping[str, int]``,
``Literal["a", "b"]``, another dataclass, ``object`` for any JSON; ``Annotated`` narrows it (``field_types.py``).
Fields with a default may be missing. What no field has is another version's and is left out, but for records
that are ``strict``, and for those with a field of ``Others``, which keeps it. What fields have to do with one another
``__post_init__`` says.

Whatever is wrong is an error of ours that names the field, and shows no value: it may be a secret, or endless.
Standard library only.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import json
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from cncp.errors import CncpError

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

LARGEST = 2**63
"""What no number of a machine is beyond; neither infinity nor what is not a number is below it."""

_MANY = 200_000  # members of a list or an object
_DEEPEST = 32  # objects and lists within one another, where anything may stand

_HINT = "have the same version of cncp everywhere: cncp up"


class Misfit(CncpError):
    """What was read is not the record that it has to be."""

    def __init__(self, message: str, hint: str = _HINT) -> None:
        super().__init__(message, hint)


class Odd(ValueError):
    """A value is not what it has to be: ``wanted`` says what that is, ``at`` which member it is, outermost last.

    With ``whole`` the text is a sentence of its own.
    """

    def __init__(self, wanted: str, *, whole: bool = False) -> None:
        super().__init__(wanted)
        self.at: list[str] = []
        self._whole = whole

    def inside(self, member: str) -> Odd:
        """Return it as what is wrong with whatever this is a member of."""
        self.at.append(member)
        return self

    def told(self) -> str:
        """Return it in words."""
        if self._whole:
            return str(self)
        place = "".join(reversed(self.at)).removeprefix(".")
        return f"{place} is to be {self}" if place else f"it is to be {self}"


class Record:
    """A dataclass that is read and written as JSON."""

    strict: ClassVar[bool] = False
    """Whether what no field has is refused."""

    @classmethod
    def from_json(cls, content: bytes | str | Mapping[str, object], where: str, hint: str = _HINT) -> Self:
        """Return the record that a text or an object is. Raises Misfit; ``where`` names in it what was read."""
        return read(cls, content, where, hint)

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Return the members as this version has them, from what any version has written. Raises Odd."""
        return members

    def to_json(self) -> dict[str, object]:
        """Return it as JSON types."""
        return _members(self)


Reader = Callable[[Any], Any]
"""Takes a value of JSON and returns what is to be used. Raises Odd."""

Limit = Callable[[Any, Reader], Any]
"""What narrows a type in ``Annotated``; it gets the reader of that."""


OTHERS = object()
"""Marks a field of the members that no other field has."""

Others = Annotated[Mapping[str, object], OTHERS]


def parse(content: bytes | str) -> Any:
    """Read JSON. Raises Odd, whatever is wrong with it."""
    try:
        return json.loads(content)
    except RecursionError:
        raise Odd("it is nested too deep", whole=True) from None
    except ValueError as error:
        raise Odd(f"it is not JSON: {error}", whole=True) from None


def read(kind: type[T], content: bytes | str | Mapping[str, object], where: str, hint: str = _HINT) -> T:
    """Return a text, or an object, as a value of a type. Raises Misfit; ``where`` names in it what was read."""
    try:
        return fitted(kind, parse(content) if isinstance(content, bytes | str) else content)
    except Odd as odd:
        raise Misfit(f"{where} is not readable: {odd.told()}", hint) from None


def fitted(kind: type[T], value: object) -> T:
    """Return JSON types as a value of a type. Raises Odd."""
    wanted: Any = kind
    found: T = _reader(wanted)(value)
    return found


def as_json(value: Any) -> Any:
    """Return records, and what holds some, as JSON types."""
    if value is None or isinstance(value, str | int | float):
        # Most of what is in them, by far.
        return value
    if isinstance(value, Record):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        return _members(value)
    if isinstance(value, Mapping):
        return {name: as_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(member) for member in value]
    return str(value) if isinstance(value, Path) else value


def _members(record: Any) -> dict[str, object]:
    kind: Any = type(record)
    form = _form(kind)
    found = {name: as_json(getattr(record, name)) for name, *_ in form.fields}
    return {**found, **(as_json(getattr(record, form.others)) if form.others else {})}


@dataclass(frozen=True)
class _Form:
    """The fields of a dataclass: name, reader, whether it may be missing; and that of the others, "" without."""

    fields: tuple[tuple[str, Reader, bool], ...]
    others: str
    others_reader: Reader


@functools.cache
def _form(kind: Any) -> _Form:
    hints = get_type_hints(kind, include_extras=True)
    none = dataclasses.MISSING
    fields = [field for field in dataclasses.fields(kind) if field.init]
    others = next((field.name for field in fields if OTHERS in get_args(hints[field.name])), "")
    return _Form(
        tuple(
            (field.name, _reader(hints[field.name]), field.default is not none or field.default_factory is not none)
            for field in fields
            if field.name != others
        ),
        others,
        _reader(get_args(hints[others])[0]) if others else _anything,
    )


def _record(kind: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise Odd("an object")
    if issubclass(kind, Record):
        value = kind.upgraded(value)
    form, found = _form(kind), {}
    for name, reader, optional in form.fields:
        if name in value:
            try:
                found[name] = reader(value[name])
            except Odd as odd:
                raise odd.inside(f".{name}") from None
        elif not optional:
            raise Odd("there").inside(f".{name}")
    rest = value.keys() - found.keys()
    if form.others:
        found[form.others] = form.others_reader({name: value[name] for name in value if name in rest})
    elif rest and getattr(kind, "strict", False):
        names = ", ".join(sorted(name for name, *_ in form.fields))
        raise Odd(f"an object of {names} alone")
    return kind(**found)


@functools.cache
def _reader(kind: Any) -> Reader:
    """Return what reads values of a type."""
    if dataclasses.is_dataclass(kind):
        return functools.partial(_record, kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        reader = _reader(arguments[0])
        for limit in arguments[1:]:
            reader = functools.partial(_limited, limit, reader)
        return reader
    readers = (
        () if origin is Literal else tuple(_reader(argument) for argument in arguments if argument is not Ellipsis)
    )
    if origin in (Union, types.UnionType, Literal):
        return functools.partial(_among, arguments) if origin is Literal else functools.partial(_either, readers)
    if origin is tuple and Ellipsis not in arguments:
        return functools.partial(_row, readers)
    lists = {list: list, tuple: tuple, collections.abc.Sequence: tuple}
    if origin in lists:
        return functools.partial(_list, lists[origin], *readers)
    return functools.partial(_table, *readers) if origin else _PLAIN[kind]


def _limited(limit: Limit, reader: Reader, value: Any) -> Any:
    return limit(value, reader)


def _either(readers: tuple[Reader, ...], value: Any) -> Any:
    if value is None and _nothing in readers:
        return None
    wanted = []
    for reader in readers:
        try:
            return reader(value)
        except Odd as odd:
            if odd.at or (len(readers) - (_nothing in readers) == 1 and reader is not _nothing):
                raise
            wanted.append(str(odd))
    raise Odd(" or ".join(wanted))


def _among(values: tuple[Any, ...], value: Any) -> Any:
    if not any(value == allowed and type(value) is type(allowed) for allowed in values):
        raise Odd(" or ".join(map(str, values)))
    return value


def _row(readers: tuple[Reader, ...], value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != len(readers):
        raise Odd(f"a list of {len(readers)}")
    return tuple(_member(reader, f"[{number}]", value[number]) for number, reader in enumerate(readers))


def _list(kind: type[Any], reader: Reader, value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) > _MANY:
        raise Odd(f"a list of up to {_MANY}")
    return kind(_member(reader, f"[{number}]", member) for number, member in enumerate(value))


def _table(key: Reader, reader: Reader, value: Any) -> Any:
    if not isinstance(value, Mapping) or len(value) > _MANY:
        raise Odd(f"an object of up to {_MANY} members")
    return {_member(key, ".*", name): _member(reader, f".{name}", member) for name, member in value.items()}


def _member(reader: Reader, name: str, value: Any) -> Any:
    try:
        return reader(value)
    except Odd as odd:
        raise odd.inside(name) from None


def _anything(value: Any, depth: int = _DEEPEST) -> Any:
    """Whatever JSON has, not nested too deeply to be written again."""
    if not isinstance(value, Mapping | list | tuple):
        return value
    if not depth:
        raise Odd("less deep")
    if isinstance(value, Mapping):
        return {name: _anything(member, depth - 1) for name, member in value.items()}
    return [_anything(member, depth - 1) for member in value]


def _nothing(value: Any) -> None:
    if value is not None:
        raise Odd("null")


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Odd("true or false")
    return value


def whole_number(value: Any) -> int:
    """Read a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= LARGEST:
        raise Odd("a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise Odd("a number")
    return float(value)


def _text(value: Any) -> str:
    """Text that a program or the file system could be given."""
    try:
        if isinstance(value, str) and b"\0" not in os.fsencode(value):
            return value
    except UnicodeEncodeError:
        pass
    raise Odd("text")


_PLAIN: Mapping[Any, Reader] = {
    types.NoneType: _nothing,
    None: _nothing,
    bool: _switch,
    int: whole_number,
    float: _number,
    str: _text,
    Path: lambda value: Path(_text(value)),
    object: _anything,
    Any: _anything,
}
