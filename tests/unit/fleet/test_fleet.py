"""Clusters of several machines, as far as they can be held without any: the agent, the survey, settings, places."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cncp.config import inventory, sources
from cncp.config.inventory import ALONE, HostSpec, Inventory
from cncp.config.sources import Kept
from cncp.console import Console
from cncp.errors import UsageError, plural
from cncp.files import PARENTS
from cncp.fleet import deploy, offline_bundle, registry, tunnel_grants
from cncp.fleet import rollout as ups
from cncp.fleet.model import HOME, SHARED, Fleet, Surveyed
from cncp.fleet.phases import survey
from cncp.fleet.phases.start_engines import reachable
from cncp.fleet.registry import Placed, forgotten
from cncp.fleet.tunnel_grants import Gate
from cncp.ipp.connection_file import EngineFile
from cncp.process import Completed
from cncp.ssh import authorized_keys, bare_host, rpc
from cncp.ssh.connection import Local
from cncp.ssh.host_errors import HostError, refused
from cncp.ssh.pool import Crew, Outcome
from cncp.ssh.rpc import Marks, call, dial, probe
from cncp.waiting import wait_until

from .facts import SECRET
from .facts import facts as facts_of

KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + letter * 43 for letter in "AB"]
"""Public keys in form."""

FILE = """
threads = 2
database = "sqlite"
[[pool]]
hosts = ["gold[2-3]"]
engines = 4
[pool.host.gold3]
engines = 1
"""


class Fake:
    """A host whose agent answers what it is told to."""

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        self.spec = HostSpec(name)
        skew = facts.pop("skew", 0.0)
        own = {"home": f"/home/{name}", "host": name, "machine": name.encode().hex(), "code": {HOME: "", SHARED: ""}}
        self.seen = Surveyed(self, facts_of(**own | facts), skew=skew)  # type: ignore[arg-type]


def looked(monkeypatch: pytest.MonkeyPatch, *hosts: Fake, marks: Sequence[Sequence[str]] = ()) -> Outcome[Surveyed]:
    """Survey hosts that are not there."""
    seen = {name: list(group) for group in marks for name in group}

    def answer(host: Fake, *_: object, **__: object) -> Marks:
        return Marks(tuple(seen.get(host.spec.name, [host.spec.name])))

    monkeypatch.setattr(survey, "_probe", lambda host: host.seen)
    monkeypatch.setattr(survey, "call", answer)
    return survey.survey({host.spec.name: host for host in hosts})  # type: ignore[misc]


def test_the_same_machine_twice_and_two_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine under two names is refused, and one that calls itself as another does; the first goes on."""
    found = looked(
        monkeypatch,
        Fake("a", {}),
        Fake("b", {"machine": "61", "host": "a"}),
        Fake("c", {"host": "a"}),
    )
    assert list(found.results) == ["a"]
    assert "the same machine as a" in found.failures["b"].message
    assert "calls itself a" in found.failures["c"].message


def test_a_machine_named_twice_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under two names, or as an account beside the controller's own machine: each would end the other's engines."""
    fakes = {name: Fake(name, {"machine": "one"}) for name in ("ada@here", inventory.LOCAL)}
    monkeypatch.setattr(Crew, "connect", lambda pool: pool.hosts.update(fakes))
    monkeypatch.setattr(survey, "_probe", lambda host: fakes[host.spec.name].seen)
    monkeypatch.setattr(survey, "call", lambda *_, **__: Marks(()))
    hosts = (HostSpec("ada@here"),)
    asked: Any = None
    node: Any = SimpleNamespace(node="here")
    for controller in (HostSpec(inventory.LOCAL), HostSpec("far")):
        wanted = Fleet(Inventory(hosts, controller), {}, tmp_path, hosts)
        with pytest.raises(UsageError, match="the same machine is named twice: localhost and ada@here") as caught:
            ups.up(asked, wanted, Console(io.StringIO(), io.StringIO()), phases=ups.HOSTS, node=node)
        assert caught.value.exit_code == 2
    assert list(tmp_path.glob("*.json")) == []


def test_numbers_of_things_are_words(tmp_path: Path) -> None:
    """One host is no hosts, anywhere; a number of what was counted is written by `plural`."""
    assert [plural(number, "host") for number in (0, 1, 2)] == ["0 hosts", "1 host", "2 hosts"]
    counted = re.compile(r"len\([^}]*\)\} (hosts|paths|files|machines|tasks|services|lines)\b")
    found = [
        f"{path.name}: {line.strip()}"
        for path in Path(ups.__file__).parents[1].rglob("*.py")
        for line in path.read_text().splitlines()
        if counted.search(line)
    ]
    # More than one by what stands before them.
    assert [line for line in found if "services are more than one" not in line] == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"writable": False}, "not writable"),
        ({"free": 100 * 2**20}, "100 MB free, 500 are needed"),
        ({"skew": -4000.0}, "-4000 s off"),
    ],
)
def test_what_a_host_lacks(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], said: str) -> None:
    """It is said of that host alone."""
    found = looked(monkeypatch, Fake("a", facts), Fake("b", {}))
    assert list(found.results) == ["b"]
    assert said in found.failures["a"].message


def test_an_installed_host_needs_less_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything is there already, a full disk is nearer."""
    assert looked(monkeypatch, Fake("a", {"free": 100 * 2**20, "code": {HOME: "x", SHARED: ""}})).results


def test_shared_homes_are_those_whose_marks_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Homes that only look alike, as those of cloned disks do, stay apart."""
    same = {"home": "/home/ada", "home_id": [2, 3]}
    found = looked(monkeypatch, Fake("a", same), Fake("b", same), Fake("c", same), marks=[["a", "b"]])
    assert {name: place.shared for name, place in found.results.items()} == {"a": ("a", "b"), "b": ("a", "b"), "c": ()}
    assert found.results["a"].root == f"/home/ada/{SHARED}"
    assert found.results["a"].home == f"/home/ada/{SHARED}/a"
    assert found.results["a"].environment["CNCP_INSTANCE"] == "a"
    assert found.results["c"].environment == {"CNCP_HOME": f"/home/ada/{HOME}"}


def test_settings_of_hosts_and_of_the_controller(tmp_path: Path) -> None:
    """The host's win over the pool's and these over the file's; what is the controller's stays with it."""
    file = tmp_path / "cluster.toml"
    file.write_text(FILE)
    _, hosts = sources.read(file)
    assert hosts is not None

    def of(host: HostSpec, **flags: str) -> dict[str, Any]:
        return sources.for_host(host, file=file, environment={}, flags=flags, former=Kept({}))

    assert [of(host) for host in hosts.hosts] == [
        {"threads": 2, "engines": 4, "role": "engine"},
        {"threads": 2, "engines": 1, "role": "engine"},
    ]
    assert of(hosts.hosts[1], engines="3")["engines"] == 3
    mine = sources.gather(file=file, environment={}, flags={}, former=Kept({}))
    assert (mine.role, mine.listen, mine.database) == ("controller", "0.0.0.0", "sqlite")
    with pytest.raises(UsageError, match="tolerance"):
        of(hosts.hosts[0], tolerance="5", heartbeat="60000")


def test_engines_on_this_machine_too(tmp_path: Path) -> None:
    """With localhost in a pool, the controller's machine runs engines as that pool says."""
    file = tmp_path / "cluster.toml"
    file.write_text('[[pool]]\nhosts = ["localhost"]\nengines = 3\n')
    mine = sources.gather(file=file, environment={}, flags={}, former=Kept({}))
    assert (mine.role, mine.engines, mine.listen) == ("compute", 3, "127.0.0.1")


def test_limit_names_hosts_of_the_cluster(tmp_path: Path) -> None:
    """Ranges and commas; a stranger is refused with the nearest name."""
    file = tmp_path / "cluster.toml"
    file.write_text(FILE)
    _, hosts = sources.read(file)
    assert hosts is not None
    assert [host.name for host in hosts.limited("gold[3],localhost")] == ["localhost", "gold3"]
    with pytest.raises(UsageError, match="names gold4") as caught:
        hosts.limited("gold4")
    assert "did you mean gold" in caught.value.hint
    assert inventory.LOCAL in [host.name for host in hosts.limited("")]


@pytest.fixture
def here(tmp_path: Path) -> Local:
    """Return this machine as a host; its home is the test's own."""
    return Local(HostSpec("here", python=sys.executable))


def test_the_agent_by_itself(here: Local, home: Path) -> None:
    """Sent as an argument to a Python, it looks, leaves marks, and takes them away."""
    facts = probe(here, HOME, SHARED)
    assert facts.home == str(home)
    assert facts.code == {HOME: "", SHARED: ""}
    assert facts.machine == probe(here, HOME).machine
    call(here, rpc.MARK, "n", "a")
    assert call(here, rpc.MARKS, "n") == Marks(("a",))
    call(here, rpc.UNMARK, "n")
    assert list(home.iterdir()) == []


def test_a_python_that_is_not_there(here: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a Python that is new enough is told apart, with what to do."""
    shell = shutil.which("sh") or ""
    lost = subprocess.run([shell, "-c", bare_host.FIND, "sh", ""], env={"PATH": "/nowhere"}, check=False)
    assert lost.returncode == bare_host.NO_PYTHON
    monkeypatch.setattr(here, "run", lambda *_, **__: Completed((), bare_host.NO_PYTHON, b"", ""))
    with pytest.raises(HostError, match="no Python 3") as caught:
        probe(here, HOME)
    assert (caught.value.host, "python = ..." in caught.value.hint) == ("here", True)


def test_code_comes_whole_and_goes_without_a_trace(here: Local, home: Path) -> None:
    """It replaces what was there in one step; what was made above is noted and removed again."""
    for content in (b"one", b"two"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            entry = tarfile.TarInfo("bootstrap/x.py")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        call(here, rpc.RECEIVE, HOME, "digest", PARENTS, stdin=packed.getvalue())
        assert (home / HOME / "code/bootstrap/x.py").read_bytes() == content
    assert {path.name for path in (home / HOME).iterdir()} == {"code", PARENTS}
    with pytest.raises(HostError):
        call(here, rpc.RECEIVE, HOME, "digest", PARENTS, stdin=b"cut off")
    assert (home / HOME / "code/bootstrap/x.py").read_bytes() == b"two"
    call(here, rpc.REMOVE, HOME, PARENTS)
    assert list(home.iterdir()) == []


def test_dialling_tells_zeromq_from_strangers(here: Local) -> None:
    """A port counts as open when ZeroMQ greets on it; one that says nothing in time does not."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, socket.socket() as mute:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        other = mute.getsockname()[1]
        found = dial(here, ["127.0.0.1"], [port, other], 1.0)
        assert found == {"127.0.0.1": (port,)}


def secret(port: int) -> EngineFile:
    """Return a connection file whose ports are all the same."""
    ports: dict[str, Any] = dict.fromkeys(EngineFile.channels, port)
    return replace(SECRET, **{**ports, "broadcast": (port, port)})


def test_the_address_is_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that answers on all ports; else what is closed is named, with the address."""
    far = Surveyed(Local(HostSpec("far")), facts_of())
    answers: dict[str, list[int]] = {"10.0.0.1": [], "10.0.0.2": [7]}
    monkeypatch.setattr("cncp.fleet.phases.start_engines.dial", lambda *_, **__: answers)
    assert reachable(far, secret(7), ["10.0.0.1", "10.0.0.2"]) == "10.0.0.2"
    assert len(secret(7).ports) == 9
    with pytest.raises(HostError, match=r"at none of 10.0.0.1"):
        reachable(far, secret(8), ["10.0.0.1"])
    partly = replace(secret(7), task=9)
    with pytest.raises(HostError, match=r"port 9 of 10.0.0.2 is closed"):
        reachable(far, partly, ["10.0.0.1", "10.0.0.2"])


def test_places_are_kept_without_settings(tmp_path: Path) -> None:
    """What `up` notes is enough to find things again; settings are the file's to say."""
    spec = HostSpec("gold2", user="ada", port=2222, settings={"engines": 4})
    made = Placed("gold2", "/r", "/r/gold2", {"CNCP_HOME": "/r/gold2"}, ("gold2", "gold3"), spec)
    registry.save(tmp_path, {"gold2": made})
    assert registry.STORE.path(tmp_path).stat().st_mode & 0o777 == 0o600
    again = registry.load(tmp_path)["gold2"]
    assert (again.home, again.shared, again.spec) == ("/r/gold2", made.shared, HostSpec("gold2", user="ada", port=2222))
    assert again.command("status")[:3] == ["env", "CNCP_HERE=true", "CNCP_HOME=/r/gold2"]
    hosts = Inventory((HostSpec("gold3"),))
    assert forgotten(hosts, tmp_path) == {"gold2": HostSpec("gold2", user="ada", port=2222)}
    assert list(forgotten(ALONE, tmp_path)) == ["gold2"]
    registry.save(tmp_path, {})
    assert registry.load(tmp_path) == {}
    assert forgotten(hosts, tmp_path) == {}


def test_gates_are_closed_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line goes with the last tunnel of a home that needs it; a machine out of reach is noted further on."""
    removed: list[tuple[str, str]] = []
    monkeypatch.setattr(authorized_keys, "remove", lambda host, key, _: removed.append((host.spec.name, key)))
    places = {name: Placed(name, "/r", "/h", {}, ("a", "b"), HostSpec(name)) for name in ("a", "b")}
    first, second, far = Gate("a", "a", KEYS[0]), Gate("b", "b", KEYS[0]), Gate("gone", "a", KEYS[1])
    tunnel_grants.save(tmp_path, {first, second, far})

    def reach(name: str) -> AbstractContextManager[Any]:
        return nullcontext(None if name == "gone" else SimpleNamespace(spec=HostSpec(name)))

    assert tunnel_grants.close(tmp_path, {first, far}, places, reach) == {far}
    assert removed == []
    assert tunnel_grants.load(tmp_path) == {second, far}
    assert tunnel_grants.close(tmp_path, {second}, places, reach) == set()
    assert removed == [("b", KEYS[0])]
    assert tunnel_grants.load(tmp_path) == {far}
    tunnel_grants.save(tmp_path, set())
    assert not list(tmp_path.glob("*.json"))


def test_the_archive_of_the_code_is_always_the_same() -> None:
    """Equal code has an equal digest, or every run would send it again."""
    assert deploy.code() == deploy.code()
    with tarfile.open(fileobj=io.BytesIO(deploy.code().archive)) as tar:
        names = tar.getnames()
    assert {"baremetal.sh", "bootstrap/stage0.py", "roles/engine.json"} <= set(names)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("ada@x: Permission denied (publickey).", "lets us in with none", "keys.authorize --hosts x"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "not the one known", "ssh-keygen -R x"),
        ("ssh: Could not resolve hostname x: unknown", "no such host", "address"),
        ("ssh: connect to host x port 22: Connection refused", "nothing answers", "sshd"),
        ("something new", "something new", "by hand: ssh x"),
    ],
)
def test_why_a_login_failed(said: str, message: str, hint: str) -> None:
    """Ssh's own words become a line of what and a line of what to do."""
    error = refused(HostSpec("x"), said, 255)
    assert message in error.message
    assert hint in error.hint


def test_an_error_of_a_host_is_told_in_its_words() -> None:
    """The last error and its hint come through; without any, its last line does."""
    error = deploy.failure("x", "==> going\nerror: no room\nhint: make some\n", 1)
    assert (error.message, error.hint) == ("no room", "make some")
    assert deploy.failure("x", "Killed\n", 137).message == "Killed"


@pytest.mark.parametrize(
    ("libc", "named"),
    [
        (["glibc", "2.36"], "manylinux_2_36_x86_64"),
        (["", ""], "manylinux_2_17_x86_64"),
    ],
)
def test_platforms_are_named_as_wheels_do(libc: list[str], named: str) -> None:
    """PEP 600, with the host's own glibc."""
    machine = Surveyed(Local(HostSpec("x")), facts_of(libc=libc))
    assert offline_bundle.platform(machine) == named


def test_a_command_that_does_not_end_is_cut_off_with_its_last_words(here: Local) -> None:
    """The time-out is the host's own, and what it said last is told."""
    heard: list[str] = []
    assert json.loads(here.run(["echo", "[1]"]).stdout) == [1]
    before = threading.active_count()
    with pytest.raises(HostError, match=r"no end after 1 s.*the last it said: still here"):
        here.run(["sh", "-c", "echo still here >&2; exec sleep 60"], timeout=1, line=heard.append)
    assert heard == ["still here"]
    assert json.loads(here.run(["echo", "[1]"]).stdout) == [1]
    # Nobody reads on what has been cut off.
    assert wait_until(lambda: threading.active_count() <= before, 10)
