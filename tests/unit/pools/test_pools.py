"""Pools: what tables of cluster.toml make of whose providers, and what comes of providers that do it wrong."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cncp.config import sources
from cncp.config.inventory import HostSpec
from cncp.errors import CncpError, UsageError
from cncp.pools import former_pools
from cncp.pools.base import Member, Pool, State, with_hosts
from cncp.pools.guarded import Guarded
from cncp.pools.hosts import Hosts
from cncp.pools.providers import PROVIDERS, former, pools

from ..elsewhere import install, python_of

THEIRS = '''\
"""A pool of somebody else's: so many hosts of a rack, which only have to be switched on."""
from cncp.config.inventory import HostSpec
from cncp.config.parsers import within
from cncp.pools.base import Member, Pool, State, Want


class Rack(Pool):
    kind = "rack"
    wants = {
        "nodes": Want(within(1, 16), "N", "how many nodes are switched on"),
        "row": Want(str, "NAME", "the row it stands in", "a"),
    }
    on = set()

    @property
    def names(self):
        return [f"rack-{self.wanted['row']}{number}" for number in range(self.wanted["nodes"])]

    @property
    def count(self):
        return self.wanted["nodes"]

    def scale(self, count):
        self.wanted["nodes"] = count

    def surplus(self):
        return sorted(self.on - set(self.names))

    def plan(self):
        return [f"switch on {name}" for name in self.names if name not in self.on]

    def acquire(self, say):
        for name in self.names:
            say(f"switching on {name}")
            self.on.add(name)
        return self.hosts()

    def hosts(self):
        return [HostSpec(name, address="10.0.0.1") for name in self.names if name in self.on]

    def observe(self):
        return [Member(name, State.JOINED if name in self.on else State.ENDED) for name in self.names]

    def release(self, names, say):
        self.on.difference_update(names)
'''


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the package of somebody else's installed."""
    install(tmp_path / "packages", "racks", {"racks": THEIRS}, {"cncp.pools": {"rack": "racks:Rack"}})
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, "racks", raising=False)


Read = Callable[[str], tuple[Pool, ...]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Give what reads the pools of a cluster.toml."""

    def read(content: str) -> tuple[Pool, ...]:
        path = tmp_path / "cluster.toml"
        path.write_text(content)
        return pools(sources.read(path)[1], tmp_path)

    return read


def test_a_file_of_hosts_is_a_pool_of_them(read: Read) -> None:
    """They are there, and nothing is to be made or taken away."""
    (pool,) = read('[[pool]]\nhosts = ["ada@gold[1-2]"]\nengines = 4\n[pool.host.gold2]\nport = 2222\n')
    assert isinstance(pool, Hosts)
    assert [(host.name, host.user, host.port, dict(host.settings)) for host in pool.hosts()] == [
        ("gold1", "ada", 0, {"engines": 4}),
        ("gold2", "ada", 2222, {"engines": 4}),
    ]
    assert pool.acquire(print) == pool.hosts()
    assert not pool.plan()
    assert [member.state for member in pool.observe()] == [State.JOINED] * 2
    assert pool.count is None
    assert not pool.surplus()
    pool.check()
    pool.release(["gold1"], print)
    pool.discard(print)
    assert len(pool.hosts()) == 2
    with pytest.raises(UsageError, match="hosts has no number of members"):
        pool.scale(3)


def test_no_pools() -> None:
    """A cluster of this machine alone has none."""
    assert pools(None, Path("/nowhere")) == ()


RACK = '[[pool]]\nprovider = "rack"\nnodes = 2\nengines = 3\npython = "python3.12"\n'


def test_a_pool_of_somebody_elses(rack: None, read: Read) -> None:
    """It is read by what it wants, gives hosts as the table describes them, and is as any other."""
    (pool,) = read(RACK)
    assert isinstance(pool, Guarded)
    assert pool.settings == {"engines": 3}
    assert not pool.hosts()
    assert pool.plan() == ["switch on rack-a0", "switch on rack-a1"]
    pool.check()
    said: list[str] = []
    made = pool.acquire(said.append)
    assert said == ["switching on rack-a0", "switching on rack-a1"]
    described = HostSpec("rack-a0", address="10.0.0.1", python="python3.12", settings={"engines": 3})
    assert made[0] == described
    assert not pool.plan()
    assert pool.observe() == [Member("rack-a0", State.JOINED), Member("rack-a1", State.JOINED)]
    assert pool.count == 2
    pool.scale(1)
    assert pool.surplus() == ["rack-a1"]
    pool.release(["rack-a1"], said.append)
    pool.discard(said.append)
    assert not pool.hosts()
    assert pool.patience > 0


def test_hosts_stand_in_the_order_of_the_file(rack: None, read: Read, tmp_path: Path) -> None:
    """Whoever makes them; the one that has the controller's name is the controller's."""
    content = f'controller = "rack-a1"\n{RACK}[[pool]]\nhosts = ["gold1"]\n'
    found = read(content)
    inventory = sources.read(tmp_path / "cluster.toml")[1]
    assert inventory is not None
    assert [host.name for host in with_hosts(inventory, found).hosts] == ["gold1"]
    found[0].acquire(lambda _: None)
    joined = with_hosts(inventory, found)
    assert [host.name for host in joined.hosts] == ["rack-a0", "rack-a1", "gold1"]
    assert joined.controller.address == "10.0.0.1"
    found[0].discard(lambda _: None)


def test_several_pools_of_one_kind(rack: None, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have numbers in their names, unless the kind allows of one alone; a name is there once."""
    first, second = read(RACK + RACK.replace("nodes = 2", 'nodes = 2\nrow = "b"'))
    assert (first.name, second.name) == ("rack", "rack-2")
    monkeypatch.setattr(PROVIDERS.find("rack", ""), "only", True)
    with pytest.raises(UsageError, match="there is a pool of rack already"):
        read(RACK + RACK)


def test_a_name_in_two_pools(rack: None, read: Read, tmp_path: Path) -> None:
    """A host of one pool that another has named is refused."""
    found = read(RACK + '[[pool]]\nhosts = ["rack-a1"]\n')
    inventory = sources.read(tmp_path / "cluster.toml")[1]
    assert inventory is not None
    found[0].acquire(lambda _: None)
    with pytest.raises(UsageError, match="rack-a1 is named twice"):
        with_hosts(inventory, found)
    found[0].discard(lambda _: None)


BAD = {
    "a provider that nobody has": ('provider = "rak"', "there is no provider 'rak'", "did you mean rack?"),
    "another provider that nobody has": ('provider = "azure"', "there is no provider 'azure'", "there are: hosts,"),
    "what must be given": ('provider = "rack"', "there is no nodes", "add nodes = N"),
    "a number beyond": ('provider = "rack"\nnodes = 17', "nodes = 17 is not possible", "from 1 to 16"),
    "a misspelt key": ('provider = "rack"\nnodes = 1\nrwo = "a"', "there is no 'rwo'", "did you mean row?"),
    "a key of the cluster": ('provider = "rack"\nnodes = 1\nheartbeat = 500', "heartbeat is the whole", "above"),
    "a misspelt setting": ('provider = "rack"\nnodes = 1\nengins = 2', "there is no 'engins'", "mean engines?"),
    "a bad setting": ('provider = "rack"\nnodes = 1\nengines = -1', "engines = -1 is not possible", "engines must"),
    "a bad way": ('provider = "rack"\nnodes = 1\npython = "-c"', "python = '-c' is not possible", "python must"),
    "hosts by their provider": ('provider = "hosts"', "names no hosts", "add hosts"),
    "a provider that is a number": ("provider = 3", "provider = 3 is not possible", "a word"),
    "a provider that is a path": ('provider = "../x"', "provider = '../x' is not possible", "a word"),
}


@pytest.mark.parametrize(("table", "message", "hint"), BAD.values(), ids=list(BAD))
def test_tables_that_make_no_sense(rack: None, read: Read, table: str, message: str, hint: str) -> None:
    """They are refused before anything is done, with the file, what is wrong and what to do."""
    with pytest.raises(UsageError) as caught:
        read(f"[[pool]]\n{table}\n")
    assert message in caught.value.message
    assert "cluster.toml pool" in caught.value.message
    assert hint in caught.value.hint


FAULTY: dict[str, tuple[str, str, str]] = {
    "no hosts at all": ("acquire", "lambda self, say: None", "acquire ended with TypeError"),
    "it raises": ("acquire", "lambda self, say: {}['gone']", "acquire ended with KeyError: 'gone'"),
    "no host": ("acquire", "lambda self, say: ['gold1']", "acquire gave 'gold1', which is no HostSpec"),
    "a name twice": ("acquire", "lambda self, say: [HostSpec('a'), HostSpec('a')]", "acquire gave a twice"),
    "an option": ("hosts", "lambda self: [HostSpec('-oProxyCommand=x')]", "is no host"),
    "a name that is a number": ("hosts", "lambda self: [HostSpec(3)]", "hosts gave a host that cannot be"),
    "a name with a user": ("hosts", "lambda self: [HostSpec('ada@gold1')]", "which is no name of a host"),
    "this machine": ("hosts", "lambda self: [HostSpec('localhost')]", "which is no name of a host"),
    "a bad port": ("hosts", "lambda self: [HostSpec('a', port=70000)]", "port = 70000 is not possible"),
    "a bad jump": ("hosts", "lambda self: [HostSpec('a', jump='-x')]", "jump = '-x' is not possible"),
    "a bad way": ("hosts", "lambda self: [HostSpec('a', connect='pigeon')]", "connect = 'pigeon' is not possible"),
    "a bad setting": ("hosts", "lambda self: [HostSpec('a', settings={'engines': -3})]", "engines = -3"),
    "a plan that is a number": ("plan", "lambda self: 3", "plan ended with TypeError"),
    "a plan of numbers": ("plan", "lambda self: [3]", "plan gave 3, which is no str"),
    "no member": ("observe", "lambda self: ['a']", "observe gave 'a', which is no Member"),
    "a state that is none": ("observe", "lambda self: [Member('a', 'up')]", "which no member can be"),
    "a member twice": ("observe", "lambda self: [Member('a', State.LOST)] * 2", "observe gave a twice"),
    "a member without a name": ("observe", "lambda self: [Member('', State.LOST)]", "which no member can be"),
    "a count that is a word": ("count", "'many'", "count is 'many', which is no number"),
    "a patience that is a word": ("patience", "'long'", "patience ended with ValueError"),
    "a check that raises": ("check", "lambda self: 1 / 0", "check ended with ZeroDivisionError"),
    "a release that raises": ("release", "lambda self, names, say: 1 / 0", "release ended with ZeroDivisionError"),
    "a publish that raises": ("publish", "lambda self, it, say: 1 / 0", "publish ended with ZeroDivisionError"),
    "a surplus of none": ("surplus", "lambda self: [None]", "surplus gave None, which is no str"),
    "a drain of none": ("drain", "lambda self, names, hold: [None]", "drain gave None, which is no str"),
    "a discard that raises": ("discard", "lambda self, say: 1 / 0", "discard ended with ZeroDivisionError"),
    "a number that it does not take": ("scale", "lambda self, count: 1 / 0", "scale ended with ZeroDivisionError"),
}


@pytest.mark.parametrize(("method", "body", "message"), FAULTY.values(), ids=list(FAULTY))
def test_a_pool_that_does_it_wrong(
    rack: None, read: Read, monkeypatch: pytest.MonkeyPatch, method: str, body: str, message: str
) -> None:
    """Whatever it raises or gives, it is one of our errors, with the pool's name and whose fault it is."""
    wrong = eval(body, {"HostSpec": HostSpec, "Member": Member, "State": State})  # noqa: S307  # of this file
    monkeypatch.setattr(PROVIDERS.find("rack", ""), method, wrong)
    given: dict[str, tuple[object, ...]] = {
        "acquire": (print,),
        "scale": (1,),
        "release": ([], print),
        "drain": ([],),
        "publish": (None, print),
        "discard": (print,),
    }

    def ask() -> None:
        (pool,) = read(RACK)
        asked = getattr(pool, method)
        asked(*given.get(method, ()))

    with pytest.raises(CncpError) as caught:
        ask()
    assert message in caught.value.message
    assert caught.value.message.startswith("rack: ")
    assert "a fault of racks" in caught.value.hint


def test_its_own_errors_are_its_own(rack: None, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pool says as ours do is for the user as it is; a table that it fails on is its fault."""
    kind = PROVIDERS.find("rack", "")

    def refuse(self: Pool) -> None:
        raise CncpError("the rack has no power", "pay the bill")

    monkeypatch.setattr(kind, "check", refuse)
    with pytest.raises(CncpError, match="the rack has no power"):
        read(RACK)[0].check()
    monkeypatch.setattr(kind, "read", classmethod(lambda *_: int("x")))
    with pytest.raises(CncpError, match=r"Rack\.read ended with ValueError") as caught:
        read(RACK)
    assert "a fault of racks" in caught.value.hint


def test_a_member_says_how_long_it_is_so() -> None:
    """In s, 0 where nobody knows; and it has JSON types. Which states go on by themselves is known."""
    assert Member("a", State.LOST).age == 0.0
    assert 9 < Member("a", State.LOST, since=time.time() - 10).age < 60
    assert Member("a", State.FAILED, "no room", 3.0, 2).document() == {
        "name": "a",
        "state": "failed",
        "cause": "no room",
        "since": 3.0,
        "engines": 2,
    }
    assert [state.value for state in State if state.coming] == ["requested", "booting", "fetching", "installing"]
    assert [state.value for state in State if state.gone] == ["lost", "failed", "ended"]


RACKCTL = """\
#!/bin/sh
cd "$(dirname "$0")" && case $1 in
    on) touch "on-$2" ;;
    off) rm -f "on-$2" ;;
    list) ls | sed -n s/^on-//p ;;
esac
"""


def test_the_one_that_the_documents_show(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is switched on and off as they say."""
    code = python_of("docs/howto/own-kinds.rst")[0]
    install(tmp_path / "shown", "shown", {"shown_racks": code}, {"cncp.pools": {"rack": "shown_racks:Rack"}})
    monkeypatch.syspath_prepend(str(tmp_path / "shown"))
    program = tmp_path / "bin" / "rackctl"
    program.parent.mkdir()
    program.write_text(RACKCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (pool,) = read('[[pool]]\nprovider = "rack"\nnodes = 2\nengines = 8\n')
    said: list[str] = []
    assert pool.plan() == ["switch node1 on", "switch node2 on"]
    assert [host.settings for host in pool.acquire(said.append)] == [{"engines": 8}] * 2
    assert said == ["switch node1 on", "switch node2 on"]
    pool.scale(1)
    assert pool.surplus() == ["node2"]
    pool.release(pool.surplus(), said.append)
    assert [member.name for member in pool.observe()] == ["node1"]
    pool.discard(said.append)
    assert said[2:] == ["switching node2 off", "switching node1 off"]
    assert not pool.hosts()


def test_a_pool_keeps_its_name(rack: None, read: Read, tmp_path: Path) -> None:
    """Whatever comes or goes beside it, what it has made stays its own; one that was changed is the same pool."""

    def names(*rows: str) -> list[str]:
        found = read("".join(f"{RACK}row = '{row}'\n" for row in rows) or "[[pool]]\nhosts = ['gold1']\n")
        former_pools.keep(found, tmp_path)
        return [pool.name for pool in found]

    assert names("a") == ["rack"]
    assert names("b", "a") == ["rack-2", "rack"]
    assert names("b") == ["rack-2"]
    assert names("c", "b") == ["rack", "rack-2"]
    assert names("c", "d", "e") == ["rack", "rack-2", "rack-3"]
    assert names("x", "x") == ["rack", "rack-2"]


def test_pools_that_the_file_has_no_more(rack: None, read: Read, tmp_path: Path) -> None:
    """They are as they were, by their names, until nothing of them is left; one of no kind that is there says so."""
    first, second = read(f"{RACK}{RACK}row = 'b'\n")
    former_pools.keep([first, second], tmp_path)
    former_pools.keep(read('[[pool]]\nhosts = ["gold1"]\n'), tmp_path)
    first.acquire(lambda _: None)
    assert former([first, second], tmp_path) == ()
    (gone,) = former([second], tmp_path)
    assert (gone.name, gone.surplus()) == (first.name, [member.name for member in first.observe()])
    gone.discard(lambda _: None)
    assert former_pools.kept(tmp_path).keys() == {second.name}

    tables = former_pools.Tables({"cells": former_pools.Table("cells", {"count": 1}, str(tmp_path))})
    former_pools.STORE.save(tmp_path, tables)
    (unknown,) = former([], tmp_path)
    for ask in (
        unknown.observe,
        lambda: unknown.discard(lambda _: None),
        lambda: unknown.release(["x"], lambda _: None),
    ):
        with pytest.raises(CncpError, match=r"is not known: .* there is no provider 'cells'"):
            ask()
    assert former_pools.kept(tmp_path).keys() == {"cells"}
