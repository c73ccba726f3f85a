"""Files of ours that are damaged, of another version or of a wrong shape: ours to say so, never a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cncp import pidfile
from cncp.client import connect_state as connects
from cncp.config import sources
from cncp.config.settings import BY_KEY, layer
from cncp.errors import CncpError, UsageError
from cncp.field_types import AbsolutePath, Matching, Shown, Sized, Within
from cncp.files import to_json
from cncp.fleet import registry, tunnel_grants
from cncp.ipp import keys
from cncp.ipp.connection_file import ClientFile
from cncp.machine import manifest, tunnels
from cncp.machine.node import installed
from cncp.pools import providers
from cncp.records import Misfit, Odd, Others, Record, as_json, fitted, read
from cncp.serve.engine_ids import Places

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "truncated": b'{"settings": {"engines"',
    "garbage": b"\x00\xff\xfe garbage",
    "not UTF-8": '{"file": "ä"}'.encode("latin-1"),
    "null": b"null",
    "list": b"[]",
    "number": b"5",
    "text": b'"x"',
    "deep": b'{"a":' * 100000,
    "endless": b"9" * 10000,
}
"""What can be in a file instead of what we wrote."""

READERS: dict[str, Callable[[Path], Any]] = {
    "kept.json": sources.kept,
    "node.json": installed,
    "manifest.json": lambda home: manifest.load(home / "manifest.json"),
    "fleet.json": registry.load,
    "gates.json": tunnel_grants.load,
    "tunnels/tunnels.json": tunnels.load,
    "cncp-identity.json": lambda home: keys.load(home / "cncp-identity.json"),
    "pid/cncp-connect.json": connects.read,
    "engine-0.json": lambda home: pidfile.read(home, "engine-0"),
    "engines.json": lambda home: Places(home / "engines.json"),
    "pool-tables.json": lambda home: providers.former([], home),
}
"""All that reads a file of ours that others are read by."""


@dataclasses.dataclass(frozen=True)
class Part(Record):
    """A record with one of each."""

    number: int
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] = "a"
    part: Part | None = None
    each: Mapping[str, Annotated[int, Within(1, 9)]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Whole(Part):
    """One that keeps what it does not know."""

    others: Others = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Strict(Part):
    """One that knows it all."""

    strict = True


def test_a_record_is_read_and_written() -> None:
    """What fits is returned as the types that are wanted, and goes back as it came; what is unknown is left out."""
    given = {"number": 1, "names": ["x"], "part": {"number": 2}, "newer": 1, "each": {"x": 3}}
    found = Part.from_json(json.dumps(given), "it")
    assert found == Part(1, ("x",), "a", Part(2), {"x": 3})
    assert Part.from_json(found.to_json(), "it") == found
    assert as_json([found])[0]["part"] == {"number": 2, "names": [], "kind": "a", "part": None, "each": {}}
    assert Whole.from_json(given, "it").to_json()["newer"] == 1
    assert fitted(dict[str, list[bool]], {"x": [True]}) == {"x": [True]}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, True),
        (int, 1.0),
        (int, 10**400),
        (float, float("nan")),
        (float, float("inf")),
        (bool, 1),
        (str, "a\0b"),
        (str, "\ud800"),
        (AbsolutePath, "/\ud800"),
        (list[int], "12"),
        (tuple[str, int], ["a"]),
        (dict[str, int], {"a": "b"}),
        (Literal["a"], "b"),
        (int | None, "x"),
        (Annotated[int, Within(1, 5)], 6),
        (Annotated[int, Within(1, 5)], 2.0),
        (Annotated[float, Within(1, 5)], float("nan")),
        (Annotated[str, Matching("[a-z]+", "a word")], "ab\n"),
        (Annotated[str, Shown(3)], "abcd"),
        (Annotated[tuple[int, ...], Sized(2, 1)], []),
        (Annotated[Mapping[str, int], Sized(1)], {"a": 1, "b": 2}),
        (object, json.loads("[" * 40 + "]" * 40)),
        (Part, []),
        (Part, {}),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, value: Any) -> None:
    """Truth is no number, a text no list, and no program takes a NUL."""
    with pytest.raises(Odd):
        fitted(kind, value)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (Part, {}, "number is to be there"),
        (Part, {"number": "SECRET"}, "number is to be a whole number"),
        (Part, {"number": 1, "part": {"number": 1, "names": ["a", 5]}}, r"part.names[1] is to be text"),
        (Part, {"number": 1, "each": {"x": 10}}, "each.x is to be a whole number from 1 to 9"),
        (Part, {"number": 1, "kind": "SECRET"}, "kind is to be a or b"),
        (Part, b"[]", "it is to be an object"),
        (Part, b"[" * 100_000, "nested too deep"),
        (Strict, {"number": 1, "SECRET": 1}, "an object of each, kind, names, number, part alone"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(kind: type[Part], given: Any, said: str) -> None:
    """The error is ours, with a line of what to do; a value may be a secret."""
    with pytest.raises(Misfit) as caught:
        read(kind, given, "gold1's answer", "ask again")
    assert caught.value.message.startswith("gold1's answer is ")
    assert said in caught.value.message
    assert "SECRET" not in caught.value.message
    assert caught.value.hint == "ask again"


def test_text_for_people_gives_no_orders() -> None:
    """What a terminal would take for one is shown as it is."""
    assert fitted(Annotated[str, Shown()], "a\x1b]0;x\x07") == "a\\x1b]0;x\\x07"  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_of_ours_is_as_good_as_none_or_an_error_of_ours(name: str, damage: str, home: Path) -> None:
    """No reader lets an exception of Python's own through, whatever the file holds."""
    path = home / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(DAMAGED[damage])
    _read(name, home)


@settings(max_examples=60, deadline=None)
@given(value=ANYTHING, data=st.data())
@pytest.mark.parametrize("name", READERS)
def test_nor_with_a_wrong_type_anywhere(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any, data: Any
) -> None:
    """One value in a good file is any JSON: what reads it returns something or says what is wrong."""
    home = tmp_path_factory.mktemp("home")
    path = home / name
    path.parent.mkdir(exist_ok=True)
    document = json.loads(json.dumps(GOOD[name]))
    places = list(_places(document))
    container, key = data.draw(st.sampled_from(places))
    container[key] = value
    path.write_text(json.dumps(document))
    _read(name, home)


def _places(value: Any) -> Any:
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(child, (dict, list)):
            yield from _places(child)


def _read(name: str, home: Path) -> None:
    try:
        READERS[name](home)
    except CncpError as caught:
        error = caught
    else:
        return
    assert str(home / name) in error.message
    assert str(home / name) in error.hint or "cncp up makes it again" in error.hint


@settings(max_examples=200, deadline=None)
@given(content=st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_a_connection_file_is_read_or_refused(content: bytes) -> None:
    """Nothing but an error of ours comes out of it."""
    with contextlib.suppress(CncpError):
        ClientFile.read(content, "it")


@pytest.mark.parametrize("damage", DAMAGED)
def test_so_is_a_damaged_one(damage: str) -> None:
    """One hundred thousand brackets are no connection file either."""
    with pytest.raises(CncpError):
        ClientFile.read(DAMAGED[damage], "it")


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(BY_KEY)) | st.text(), raw=ANYTHING)
def test_a_setting_is_read_or_refused(key: str, raw: Any) -> None:
    """Any value of any type: a value of the setting, or an error of ours; and what was read is read again alike."""
    try:
        found = layer("it", {key: raw}).values[key]
    except CncpError:
        return
    assert layer("it", json.loads(json.dumps({key: found}))).values[key] == found


@pytest.mark.parametrize(
    "content",
    [
        "engines = " + "9" * 5000,
        "engines = 0x" + "f" * 6000,
        "engines = " + "[" * 3000,
        "a" + ".b" * 3000 + " = 1",
        "[[pool]]\nhosts = 0x" + "f" * 6000,
        'requirements = "a\\u0000b"',
        "logs = 2026-11-25",
    ],
)
def test_a_file_of_settings_is_read_or_refused(content: str, home: Path) -> None:
    """Depths, endless numbers and what only looks like TOML: exit 2, and the file is named."""
    (home / "cluster.toml").write_text(content)
    with pytest.raises(UsageError, match=r"cluster\.toml"):
        sources.gather(file=home / "cluster.toml", environment={}, flags={}, former=sources.Kept({}))


def test_settings_are_read_back_as_they_were_written_down() -> None:
    """The record of a node holds settings as they were read: a parser takes its own results."""
    whole = sources.complete([])
    assert sources.recorded(json.loads(json.dumps(dataclasses.asdict(whole)))) == whole


def test_a_record_of_another_version_is_understood() -> None:
    """A setting that it does not know has its default, and one that is known no more is nothing."""
    whole = dataclasses.asdict(sources.complete([]))
    del whole["heartbeat"]
    assert sources.recorded({**whole, "colour": "blue"}).heartbeat == sources.complete([]).heartbeat


def test_a_damaged_record_of_command_lines_can_be_got_rid_of(home: Path) -> None:
    """The error names the file, and --forget does without it."""
    (home / "kept.json").write_text('{"settings": {"engines": [1]}, "file": ""}')
    with pytest.raises(CncpError, match="engines") as caught:
        sources.kept(home)
    assert caught.value.hint.startswith(f"rm {home}/kept.json")


def test_the_process_of_a_record_without_a_start_is_nobody(home: Path) -> None:
    """A process that is gone has started at no time, which is not the time in a damaged record."""
    (home / "engine-0.json").write_bytes(to_json({"pid": -5, "started": 0, "digest": "", "uuid": ""}))
    assert pidfile.read(home, "engine-0") == pidfile.GONE


def _good() -> dict[str, Any]:
    identity = keys.Identity.new("k", (b"p" * 40, b"s" * 40), tuple(range(20000, 20018)))
    whole = dataclasses.asdict(sources.complete([]))
    tunnel = tunnels.Tunnel("a", "b", ("ssh-ed25519 AAAA",), (1, 2), "127.0.0.1", reverse=False)
    node = {
        "settings": whole,
        "account": {"name": "ada", "uid": 1000, "gid": 1000, "home": "/home/ada"},
        "host": "vm",
        "home": "/home/ada/h",
        "profile_dir": "/home/ada/p",
        "source": "/s",
        "instance": "",
        "manager": "supervisor",
        "scope": "user",
        "why": "",
        "controller": True,
        "engine_ids": [0, 1],
        "threads": 1,
        "gpus": [],
        "location": "vm",
        "tunnels": [dataclasses.asdict(tunnel)],
    }
    spec = {"name": "gold", "user": "", "port": 0, "jump": "", "python": "", "address": "", "settings": {}}
    placed = {"name": "gold", "root": "/r", "home": "/h", "environment": {"A": "b"}, "shared": ["silver"], "spec": spec}
    connect = {
        "pid": 1,
        "created": 1.0,
        "profile": "p",
        "host": "h",
        "remote_profile": "p",
        "ports": [1],
        "state": "up",
    }
    values = {
        "ec2": {"instances": "1-2", "image": "ami-1", "flavor": "t3.micro", "engines": "cores", "zones": ["a"]},
        "vm": {"count": 2, "memory": 2048},
        "netboot": {"nodes": ["node[1-2]"], "image": "compute-1-0"},
    }
    pool_tables = {kind: {"provider": kind, "values": table} for kind, table in values.items()}
    return {
        "kept.json": {"settings": {"engines": 2, "listen": "0.0.0.0"}, "file": "/f"},
        "node.json": node,
        "manifest.json": {"made": {"/a": ["login", "file"]}, "kept": {"/a": "b"}, "modes": {"/a": 448}, "copies": {}},
        "fleet.json": {"hosts": {"gold": placed}},
        "gates.json": {"gates": [{"machine": "a", "engines": "b", "key": "c"}]},
        "tunnels/tunnels.json": {"tunnels": [dataclasses.asdict(tunnel)]},
        "cncp-identity.json": identity.to_json(),
        "pid/cncp-connect.json": {**connect, "since": 1.0, "reconnected": 0, "ssh": 2, "said": ""},
        "engine-0.json": {"pid": os.getpid(), "started": pidfile.started(os.getpid()), "digest": "d", "uuid": "u"},
        "engines.json": {"places": [["vm", 0, 0]]},
        "pool-tables.json": {"tables": {kind: {**table, "folder": "/f"} for kind, table in pool_tables.items()}},
    }


GOOD = _good()
"""What each file holds, whole."""


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read(name: str, home: Path) -> None:
    """The table above is of files that are read, so that damage to them is damage."""
    path = home / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(GOOD[name]))
    found = READERS[name](home)
    assert found not in (None, (), {}, set(), pidfile.GONE)
    if name == "manifest.json":
        assert found.made == {"/a": ("login", "file")}
