"""What people and other programs wrote is read, or refused in a line: no other error, no end of memory or patience."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cncp.config import (
    hostlist,
    inventory,
    ipyparallel_profile,
    parsers,
    pool_tables,
    profile_export,
    selection,
    sources,
    writer,
)
from cncp.config.asked import request
from cncp.config.hostlist import fold
from cncp.config.inventory import HostSpec
from cncp.config.sources import Kept
from cncp.config.variables import switched
from cncp.errors import CncpError, UsageError
from cncp.ipp.connection_file import ClientFile
from cncp.tasks import rollout_report, scenes

PARTS = st.text("ab0129.-_", min_size=1, max_size=8)
NAMES = st.from_regex(r"(?:[a-z][a-z0-9]{0,3}@)?[a-z0-9_][a-z0-9._-]{0,9}(?::[0-9]{1,4})?", fullmatch=True)


def expanded(patterns: list[str]) -> list[str]:
    """Return the names that patterns stand for."""
    return [name for pattern in patterns for name in hostlist.expand(pattern, "test")]


@settings(max_examples=300, deadline=None)
@example(names=["gold", "gold1"])
@example(names=["aaa", "aaa7"])
@example(names=["ba", "ba101", "b", "b0", "b00", "b01", "b1"])
@given(names=st.lists(NAMES, unique=True, max_size=12))
def test_names_survive_being_folded(names: list[str]) -> None:
    """What stands in a file that we write is what there was."""
    assert sorted(expanded(fold(names))) == sorted(names)


READ = {
    "a number": (parsers.within(0, 9), "7", 7),
    "a number or a word": (parsers.number_or(0, 9, "auto", "auto"), "auto", "auto"),
    "a switch": (parsers.switch, "Off", False),
    "where to listen": (parsers.listen, "all", "0.0.0.0"),
    "ports": (parsers.ports, "09000-9100", "9000-9100"),
    "memory": (parsers.memory, "128M", "128M"),
    "variables": (parsers.environment, {"B": "two words", "A": 1}, "A=1 'B=two words'"),
    "no variables": (parsers.environment, {}, "none"),
}


@pytest.mark.parametrize(("parse", "raw", "value"), READ.values(), ids=list(READ))
def test_a_value_has_one_form(parse: Any, raw: object, value: object) -> None:
    """However it was written; and it is kept in that form, to be read again as the same."""
    assert parse(raw) == value
    assert parse(value) == value


@settings(max_examples=300, deadline=None)
@given(first=PARTS, bounds=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=3))
def test_ranges_are_all_their_numbers(first: str, bounds: list[tuple[int, int]]) -> None:
    """One name for each, or a line of what is wrong."""
    pattern = "h" + first + "".join(f"[{low}-{high}]" for low, high in bounds)
    wanted = 1
    for low, high in bounds:
        wanted *= max(0, high - low + 1)
    try:
        found = expanded([pattern])
    except UsageError:
        assert wanted == 0 or wanted > hostlist.MAX_HOSTS
    else:
        assert len(found) == wanted


@pytest.mark.parametrize(
    ("value", "on"),
    [(None, False), ("", False), ("no", False), ("0", False), ("TRUE", True), ("1", True), ("on", True)],
)
def test_a_switch_is_on_or_off(value: str | None, on: bool) -> None:
    """A variable that is not set is off, in whatever case the others are written."""
    assert switched({} if value is None else {"CNCP_JSON": value}, "CNCP_JSON") is on


def test_a_switch_is_nothing_else() -> None:
    """What is neither is refused by the name of the variable."""
    with pytest.raises(UsageError, match="environment: CNCP_JSON = 'maybe' is not possible"):
        switched({"CNCP_JSON": "maybe"}, "CNCP_JSON")


@pytest.mark.parametrize(
    "pattern",
    [
        "a[1-1000]x[1-1000]",
        "a" + "[1-9]" * 200,
        "a" + "[1]" * 1500,
        "a[0-999999999]",
        "a[" + ",".join(["1-1000"] * 100) + "]",
        "a" * 5000,
        "[" * 2000,
    ],
)
def test_too_many_hosts_are_too_many_at_once(pattern: str) -> None:
    """They are counted, not made, before that is said."""
    with pytest.raises(UsageError):
        next(iter(hostlist.expand(pattern, "test")))
    with pytest.raises(UsageError):
        selection.named(pattern)
    with pytest.raises(UsageError):
        inventory.Inventory((HostSpec("a"),)).limited(pattern)


def ours(work: Any) -> None:
    """Do something that may end with an error of ours."""
    try:
        work()
    except CncpError as error:
        assert error.message  # noqa: PT017  # that it is one is the point
        assert error.hint  # noqa: PT017


BAD_FILES = [
    b"[" * 5000,
    b"a = " + b"[" * 5000,
    b"engines = " + b"1" * 5000,
    b"engines = 0x" + b"f" * 6000,
    b'[[pool]]\nhosts = "a\\u0000b"\n',
    b'[[pool]]\nhosts = "~nosuch/x"\n',
    b'[[pool]]\nhosts = "/dev/zero"\n',
    b'[[pool]]\nhosts = "/dev/full"\n',
    b'[[pool]]\nhosts = "/"\n',
    b'[[pool]]\nhosts = "ada@x"\n',
    b'[[pool]]\nhosts = ["' + b"[1]" * 1500 + b'"]\n',
    b'[[pool]]\nhosts = ["a[1-1000]x[1-1000]"]\n',
    b'[[pool]]\nhosts = ["a[1-1024]"]\n' * 3000,
    b"[[pool]]\nhost = [5]\nhosts = [5]\n",
    b"pool = 5\n",
    b"controller = [1]\n[[pool]]\nhosts = ['a']\n",
    b"\xff\xfe",
    b"\0",
    b"# " + b"x" * 2**21,
]


@pytest.mark.parametrize("content", BAD_FILES, ids=range(len(BAD_FILES)))
@pytest.mark.parametrize("name", ["cluster.toml", "hosts.txt"])
def test_bad_files_are_refused_in_a_line(content: bytes, name: str, tmp_path: Path) -> None:
    """As a cluster.toml and as a plain list, with what a colleague sent, and as a profile of ipyparallel."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError):
        sources.read(path)
    ours(lambda: profile_export.load(path))
    ours(lambda: ipyparallel_profile.read(path))
    ours(lambda: writer.checked(content.decode(errors="replace")))


@pytest.mark.parametrize("name", ["/dev/zero", "/nowhere", "/", "/etc/shadow/x", "a\0b", "~nosuch/x"])
def test_files_that_are_none(name: str) -> None:
    """Endless, missing, a folder, or no name at all."""
    for read in (sources.read, pool_tables.read_names, profile_export.load, ipyparallel_profile.read):
        ours(functools.partial(read, Path(name)))


ENDLESS = ["c.A.b = 0x" + "f" * 6000, "c.A" + ".b" * 900 + " = 1", "c.A.b = " + "-" * 5000 + "1", "x = " + "(" * 300]
CODE = [
    *ENDLESS,
    'c.SSHEngineSetLauncher.engines = {"a": 0x' + "f" * 6000 + "}",
    f'c.SSHEngineSetLauncher.engines = {{"a": {[[[[1]]]]}, 5: 5, "b": (1, ["x"])}}',
    "c.SSHEngineSetLauncher.engines[0x" + "f" * 6000 + "] = 1",
    'c.IPController.ip = ["x"]\nc.Cluster.n = -1\nc.HeartMonitor.period = "x"',
    "def f():\n  '''\n  '''\n",
]


@pytest.mark.parametrize("source", CODE, ids=range(len(CODE)))
def test_odd_profiles_are_read_as_far_as_they_say_anything(source: str, tmp_path: Path) -> None:
    """Numbers of thousands of digits and names of hundreds of parts are left out with a note."""
    path = tmp_path / "ipcluster_config.py"
    path.write_text(source)

    def read() -> None:
        found = ipyparallel_profile.read(path)
        made = ipyparallel_profile.settings(found, found.notes)
        writer.checked(
            "".join(f"{line}\n" for line in writer.lines(made, ipyparallel_profile.with_pools(found), found.notes))
        )

    ours(read)


TOML = st.lists(
    st.sampled_from(
        [
            *(
                "[[pool]]",
                "[pool.host.a]",
                "[pool]",
                "[environment]",
                'hosts = ["a[1-3]"]',
                'hosts = "x"',
                "hosts = []",
            ),
            *("engines = 2", "engines = []", 'user = "-x"', "port = 0", "port = 22", 'jump = "a,b"', 'connect = "no"'),
            *('controller = "a"', "controller = 5", "offline = 1", "host = 5", '"" = 1', "x.y.z = 1", "threads = true"),
        ]
    )
    | st.text(max_size=12),
    max_size=8,
).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(content=TOML)
def test_any_file_is_read_or_refused(content: str) -> None:
    """Pieces of a cluster.toml in any order, and any text."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cluster.toml", "hosts.txt"):
            path = Path(folder) / name
            path.write_text(content, encoding="utf-8", errors="replace")
            ours(functools.partial(sources.read, path))


@settings(max_examples=200, deadline=None)
@given(words=st.text(max_size=20) | st.text("a[1-9],]@:.", max_size=20), raw=st.binary(max_size=60))
def test_any_words_are_hosts_or_refused(words: str, raw: bytes) -> None:
    """Those of a command line, and connection files."""
    ours(lambda: selection.named(words))
    ours(lambda: pool_tables.spec(words, "test"))
    ours(lambda: ClientFile.read(raw, "test"))
    ours(lambda: ClientFile.read(b"[" * 100_000, "test"))


MANY = '[[pool]]\nhosts = ["gold[1-1024]"]\n'


def test_a_file_is_parsed_once_for_all_its_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings for 1,024 hosts are read from one parse; the longest cluster costs no more of them."""
    path = tmp_path / "cluster.toml"
    path.write_text(MANY)
    parsed: list[str] = []
    real = pool_tables.parse

    def parse(values: Mapping[str, Any], origin: str, folder: Path) -> inventory.Inventory | None:
        parsed.append(origin)
        return real(values, origin, folder)

    monkeypatch.setattr(pool_tables, "parse", parse)
    asked = request({"HOME": str(tmp_path)}, file=str(path), flags={}, forget=True)
    hosts = scenes.inventory(asked)
    assert len(rollout_report.fleet(asked, hosts, limit="", strict=False).settings) == 1025
    assert len(parsed) == 1


@pytest.mark.parametrize("key", ["engines", "threads", "pin", "memory"])
def test_one_machine_becomes_many(key: str, tmp_path: Path) -> None:
    """What was said of its engines is neither a contradiction nor the hosts'; what is said of theirs now is."""
    path = tmp_path / "cluster.toml"
    path.write_text('[[pool]]\nhosts = ["gold1"]\n')
    value: str | int = {"engines": 1, "threads": 2, "pin": "cores", "memory": "2G"}[key]  # type: ignore[assignment]
    once = Kept({key: value, "heartbeat": 600})
    former = sources.of_many(once, path)
    mine = sources.gather(file=path, environment={}, flags={}, former=former)
    assert (mine.role, mine.heartbeat) == ("controller", 600)
    host = HostSpec("gold1")
    assert key not in sources.for_host(host, file=path, environment={}, flags={}, former=former)
    # Kept from a command line for this very file, or on it now, it is said of the hosts.
    for kept, flags in ((Kept({key: value}, str(path)), {}), (Kept({}), {key: str(value)})):
        again = sources.of_many(kept, path)
        assert sources.gather(file=path, environment={}, flags=flags, former=again).role == "controller"
        found = sources.for_host(host, file=path, environment={}, flags=flags, former=again)
        assert found[key] == value
    assert sources.of_many(once, None) == once
