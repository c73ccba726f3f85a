"""A cluster of several machines over real sshd, from nothing to engines that answer, and the verbs on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pexpect
import pytest

from cncp.fleet.phases.base import Together
from cncp.fleet.rollout import PHASES

from ..install.support import wheel
from .fleets import Fleet, MakeFleet, differences

POOL = """
[[pool]]
hosts = ["alpha[1-2]"]
engines = 2
threads = 1
"""
VERSIONS = """
import ipyparallel, json
def version():
    import importlib.util, socket
    return socket.gethostname(), importlib.util.find_spec("mineral") and __import__("mineral").version
print(json.dumps(sorted(ipyparallel.Client(profile="cncp")[:].apply_async(version).get(timeout=30))))
"""
PROGRAM = """
import socket
import cncp
cluster = cncp.Cluster.from_file("cluster.toml")
print(cluster.up())
with cluster.client() as client:
    print(sorted(client[:].apply_sync(socket.gethostname)))
print(sorted((service.host, service.name) for service in cluster.status(limit="alpha2")))
try:
    cncp.Cluster.from_file("hosts").status()
except cncp.SomeHostsFailed as error:
    print(list(error.failures), error.hint)
"""
FOUR = ["alpha1", "alpha1", "alpha2", "alpha2"]


@pytest.fixture(scope="module")
def fleet(make_fleet: MakeFleet) -> Fleet:
    """Boot a master and two hosts; bob has an account on all of them and his key is known."""
    made = make_fleet("alpha", 2)
    made.file(POOL)
    # A login file that prints is nobody's answer.
    noisy = made.hosts["alpha1"]
    noisy.host.write(f"{noisy.home}/.bashrc", "echo 'welcome {'\n", "bob")
    return made


@pytest.fixture(scope="module")
def before(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Remember all machines as they were."""
    return fleet.trees()


def test_from_nothing_to_engines_that_answer(fleet: Fleet, before: dict[str, dict[str, str]]) -> None:
    """One command sets up all hosts; a second changes nothing."""
    assert before
    done = fleet.master.baremetal()
    assert "4/4 engines answer" in done.stdout
    assert sorted(fleet.ask_engines()) == FOUR
    again = fleet.master.cncp("up")
    assert "nothing to change" in again.stdout
    shown = json.loads(fleet.master.cncp("status", "--json").stdout)
    engines = [service for service in shown if service["name"] != "controller"]
    assert sorted((engine["host"], engine["name"], engine["state"]) for engine in engines) == [
        (host, f"engine-{number}", "idle") for host in ("alpha1", "alpha2") for number in (0, 1)
    ]


def test_a_program_has_all(fleet: Fleet) -> None:
    """What verbs do on all hosts, a program does; what some hosts have failed at it learns by their names."""
    fleet.master.host.write(f"{fleet.master.home}/hosts", "alpha1\nalpha7\n", "bob")
    said = fleet.master.python(PROGRAM)
    fleet.master.host.exec(["rm", f"{fleet.master.home}/hosts"])
    assert said.stdout.splitlines() == [
        "Report(engines=4, answering=4, changed=False)",
        str(FOUR),
        "[('alpha2', 'engine-0'), ('alpha2', 'engine-1')]",
        "['alpha7'] mend them, then run this again",
    ]
    assert said.stderr == ""


def test_a_plan_for_all(fleet: Fleet) -> None:
    """What `up` would do on every host is shown by each of them, and nothing is done."""
    same = fleet.master.cncp("plan", "--detailed-exitcode")
    assert same.stdout.splitlines() == [f"[{name}] nothing to change" for name in ("localhost", "alpha1", "alpha2")]
    trees, engines = fleet.trees(), fleet.ids()
    fleet.file(POOL + '[pool.host.alpha2]\nengines = 3\n[[pool]]\nhosts = ["alpha9"]\n')
    planned = fleet.master.cncp("plan", "--detailed-exitcode", check=False)
    assert planned.returncode == 5
    lines = planned.stdout.splitlines()
    assert "[alpha1] nothing to change" in lines
    assert "[alpha2] start engine-2" in lines
    assert "[alpha9] set up: nothing of ours is there" in lines
    document = json.loads(fleet.master.cncp("plan", "--limit", "alpha[1-2]", "--json").stdout)
    assert {name: plan["start"] for name, plan in document.items()} == {"alpha1": [], "alpha2": ["engine-2"]}
    fleet.master.host.exec(["rm", f"{fleet.master.home}/cluster.toml"])
    fleet.file(POOL)
    # What was asked of each host is noted there.
    # What runs may write into its log at any time.
    assert [
        line for line in differences(trees, fleet.trees()) if not re.search(r"/(cncp\.log|run/\S+\.out): ", line)
    ] == []
    assert fleet.ids() == engines


def test_verbs_on_some_hosts(fleet: Fleet) -> None:
    """Logs, another number of engines, and another process: on the hosts and services named, and on no others."""
    master = fleet.master
    shown = master.cncp("logs", "--name", "engine-1", "--lines", "1", "--limit", "alpha[1-2]").stdout
    assert [line.split("]")[0] for line in shown.splitlines()] == ["[alpha1", "[alpha2"]
    master.cncp("scale", "1", "--limit", "alpha2")
    assert sorted(fleet.ask_engines()) == FOUR[:3]
    before = fleet.status()
    assert set(before) == {"localhost controller", "alpha1 engine-0", "alpha1 engine-1", "alpha2 engine-0"}
    master.cncp("restart", "--limit", "alpha1", "--name", "engine-1")
    fleet.await_engines(FOUR[:3])
    assert {name for name, now in fleet.status().items() if now["pid"] != before[name]["pid"]} == {"alpha1 engine-1"}
    master.cncp("down")
    assert {service["state"] for service in fleet.status().values()} == {"down"}
    assert "4/4 engines answer" in master.cncp("up").stdout


def test_a_prompt_in_an_engine_of_another_machine(fleet: Fleet) -> None:
    """What is typed at the controller's machine runs in that engine, and is interrupted from there."""
    argv = ["env", "TERM=dumb", f"{fleet.master.home}/.local/bin/cncp", "console", "--name", "alpha2/engine-1"]
    terminal = fleet.master.host.shell_tty(argv, "bob", timeout=30)
    terminal.expect(r"In alpha2/engine-1 \(id \d\)")
    terminal.sendline("import socket; socket.gethostname()")
    terminal.expect(r"\n'alpha2'\r")
    terminal.sendline("import time; print('begun', flush=True); time.sleep(600)")
    terminal.expect(r"\nbegun\r")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt")
    terminal.expect("alpha2/engine-1: ")
    terminal.sendline("exit")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_package_of_the_users_own(fleet: Fleet, wheelhouse: Path) -> None:
    """`cncp pip install` reaches all hosts and is noted: virtualenvs that are made anew have it, until it is undone."""
    master, second = fleet.master, fleet.hosts["alpha2"]

    def versions() -> list[list[str | None]]:
        return list(json.loads(master.python(VERSIONS).stdout))

    wheel(wheelhouse, "mineral", "1.5")
    assert "4/4 engines answer" in master.cncp("pip", "install", "mineral>=1").stdout
    everywhere = [[host, "1.5"] for host in FOUR]
    assert versions() == everywhere
    assert master.python("import mineral; print(mineral.version)").stdout == "1.5\n"
    assert master.host.read(f"{master.state}/packages.txt") == "mineral>=1\n"
    assert "nothing to change" in master.cncp("up").stdout
    second.host.exec(["rm", "-rf", f"{second.state}/venv"])
    assert "4/4 engines answer" in master.cncp("up").stdout
    assert versions() == everywhere
    master.host.exec(["rm", "-rf", f"{master.state}/venv"])
    assert "4/4 engines answer" in master.baremetal().stdout
    assert versions() == everywhere
    assert master.python("import mineral; print(mineral.version)").stdout == "1.5\n"
    assert "4/4 engines answer" in master.cncp("pip", "uninstall", "mineral").stdout
    assert versions() == [[host, None] for host in FOUR]


RACK = """
import json
from cncp.config.inventory import HostSpec
from cncp.config.parsers import within
from cncp.pools.base import Member, Pool, State, Want


class Rack(Pool):
    kind = "rack"
    counted = "nodes"
    wants = {"nodes": Want(within(1, 2), "N", "how many nodes are on")}

    @property
    def _file(self):
        return self.home / "rack.json"

    def _on(self):
        return json.loads(self._file.read_text()) if self._file.exists() else []

    def _names(self):
        return [f"alpha{number}" for number in range(1, self.count + 1)]

    def plan(self):
        return [f"switch {name} on" for name in self._names() if name not in self._on()]

    def acquire(self, say):
        for line in self.plan():
            say(line)
        self._file.write_text(json.dumps(sorted({*self._on(), *self._names()})))
        return self.hosts()

    def hosts(self):
        return [HostSpec(name) for name in self._names() if name in self._on()]

    def surplus(self):
        return [name for name in self._on() if name not in self._names()]

    def observe(self):
        on = self._on()
        return [Member(f"alpha{number}", State.JOINED if f"alpha{number}" in on else State.ENDED) for number in (1, 2)]

    def release(self, names, say):
        say(f"switching off {', '.join(sorted(names))}")
        self._file.write_text(json.dumps([name for name in self._on() if name not in names]))
"""


def test_hosts_of_a_pool_of_somebody_elses(fleet: Fleet) -> None:
    """They are as those that a file names: set up, shown, more and fewer of them, and off once their engines are."""
    master = fleet.master
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = master.python(find).stdout.strip()
    master.host.write(f"{packages}/racks.py", RACK, "bob")
    master.host.run(["mkdir", f"{packages}/racks-1.0.dist-info"], "bob")
    master.host.write(f"{packages}/racks-1.0.dist-info/entry_points.txt", "[cncp.pools]\nrack = racks:Rack\n", "bob")
    master.host.write(f"{packages}/racks-1.0.dist-info/METADATA", "Name: racks\nVersion: 1.0\n", "bob")
    fleet.file('[[pool]]\nprovider = "rack"\nnodes = 2\nengines = 2\nthreads = 1\n')
    assert set(master.cncp("plan").stdout.splitlines()) >= {"[rack] switch alpha1 on", "[rack] switch alpha2 on"}
    up = master.cncp("up")
    assert "4/4 engines answer" in up.stdout
    assert "[rack] switch alpha2 on" in up.stderr
    assert sorted(fleet.ask_engines()) == FOUR
    assert {name.split()[0] for name in fleet.status()} == {"localhost", "alpha1", "alpha2"}

    fewer = master.cncp("scale", "1")
    assert "[rack]" not in fewer.stdout
    assert "switching off alpha2" in fewer.stderr
    assert "2/2 engines answer" in fewer.stdout
    fleet.await_engines(FOUR[:2])
    assert fleet.status()["alpha2 member"]["state"] == "ended"

    down = master.cncp("down")
    assert "switching off alpha1" in down.stderr
    assert {name: row["state"] for name, row in fleet.status().items()} == {
        "localhost controller": "down",
        "alpha1 member": "ended",
        "alpha2 member": "ended",
    }
    assert "4/4 engines answer" in master.cncp("scale", "2").stdout
    master.host.exec(["rm", "-r", f"{packages}/racks-1.0.dist-info", f"{packages}/racks.py"])
    refused = master.cncp("status", check=False)
    assert refused.returncode == 2
    assert "there is no provider 'rack'" in refused.stderr
    fleet.file(POOL)
    up = master.cncp("up")
    assert "nothing to change" in up.stdout
    # Its machines are on: that is told until somebody has seen to them.
    assert "the pool rack, which is no longer in the file: what it has made is not known" in up.stderr
    forget = re.search(r"rm (\S+/pool-tables\.json)", up.stderr)
    assert forget
    master.host.run(["rm", forget[1]], "bob")
    assert "no longer in the file" not in master.cncp("up").stderr


def test_a_host_that_is_taken_out_of_the_file(fleet: Fleet, before: dict[str, dict[str, str]]) -> None:
    """`up` says that it is still set up, and how it is taken down; that leaves nothing on it."""
    fleet.file(POOL.replace("alpha[1-2]", "alpha1"))
    said = fleet.master.cncp("up").stderr
    assert "[alpha2] is set up, but no longer in the file; take it down: cncp uninstall --limit alpha2" in said
    fleet.master.cncp("uninstall", "--limit", "alpha2")
    left = differences(before, {**before, "alpha2": fleet.trees()["alpha2"]})
    assert left == []
    done = fleet.master.cncp("up", "--json", "--verbose")
    assert "no longer in the file" not in done.stderr
    took = json.loads(done.stdout)
    taken = [phase.name for step in PHASES for phase in (step.phases if isinstance(step, Together) else (step,))]
    assert set(took["seconds"]) == {*taken} - {"this-machine", "install-controller", "open-tunnels", "tell-former"}
    assert all(f"    {phase}: " in done.stderr for phase in took["seconds"])
    assert all({"plan", "await-engines"} <= set(host["seconds"]) for host in took["hosts"].values())
    assert sorted(fleet.ask_engines()) == FOUR[:2]


def test_nothing_is_left(fleet: Fleet, before: dict[str, dict[str, str]]) -> None:
    """An uninstall takes all away, on hosts that the file no longer names, too."""
    fleet.file(POOL)
    assert "4/4 engines answer" in fleet.master.cncp("up").stdout
    fleet.file(POOL.replace("alpha[1-2]", "alpha1"))
    fleet.master.cncp("uninstall")
    fleet.file(POOL)
    assert differences(before, fleet.trees()) == []
