"""A pool of somebody else's in a real cluster: machines that come by themselves, here processes, and run engines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from .server import IndexServer
from .support import Site, said, user_of, wheel

POOL = '''\
import json, os, signal, subprocess, sys
from pathlib import Path
from cncp.config.parsers import within
from cncp.pools.base import Member, Pool, State, Want
from cncp.waiting import wait_until


class Cells(Pool):
    """Engines that come by themselves, in processes of this machine."""

    kind = "cells"
    counted = "count"
    wants = {"count": Want(within(1, 4), "N", "how many processes with an engine", 1)}

    @property
    def folder(self):
        return self.home / "cells"

    def _cells(self):
        return {path.stem: int(path.read_text()) for path in sorted(self.folder.glob("*.pid"))}

    @staticmethod
    def _runs(pid):
        # One that has ended is there until its parent asks.
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def _names(self):
        return [f"cell{number}" for number in range(self.count)]

    def plan(self):
        there = self._cells()
        return [f"begin {name}" for name in self._names() if not self._runs(there.get(name, 0) or 2**30)]

    def acquire(self, say):
        return ()

    def publish(self, rendezvous, say):
        self.folder.mkdir(mode=0o700, exist_ok=True)
        document = self.folder / "engine.json"
        document.touch(mode=0o600)
        document.write_text(json.dumps({**rendezvous.engine_file, "location": "127.0.0.1"}))
        for line in self.plan():
            name = line.split()[1]
            say(f"beginning {name}")
            with (self.folder / f"{name}.log").open("w") as log:
                argv = [sys.executable, "-m", "ipyparallel.engine", f"--file={document}"]
                begun = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True, cwd=self.folder)
            (self.folder / f"{name}.pid").write_text(str(begun.pid))

    def _member(self, name, pid):
        said = (self.folder / f"{name}.log").read_text()
        if not self._runs(pid):
            return Member(name, State.LOST, said.strip().splitlines()[-1] if said.strip() else "it said nothing")
        if "Completed registration" in said:
            return Member(name, State.JOINED, engines=1)
        return Member(name, State.BOOTING)

    def observe(self):
        return [self._member(name, pid) for name, pid in self._cells().items()]

    def surplus(self):
        return [name for name in self._cells() if name not in self._names()]

    def release(self, names, say):
        for name, pid in self._cells().items():
            if name in names:
                say(f"ending {name}")
                if self._runs(pid):
                    os.kill(pid, signal.SIGKILL)
                wait_until(lambda: not self._runs(pid), 10)
                (self.folder / f"{name}.pid").unlink()
'''

FILE = """
service_manager = "supervisor"
converge = "embedded"
listen = "loopback"
heartbeat = 1000
requirements = "requirements.txt"
[[pool]]
provider = "cells"
count = 2
"""

ASK = """
import ipyparallel, os, sys
client = ipyparallel.Client(profile="cncp", timeout=30)
client.wait_for_engines(int(sys.argv[1]), timeout=30, interactive=False)
print(len(set(client[:].apply_sync(os.getpid))))
"""


@pytest.fixture
def biology(site: Site, index: IndexServer) -> Iterator[Site]:
    """Give a user whose cluster.toml names the provider, and whose requirements the package that has it."""
    wheel(index.folder, "biology", "1.0", source=POOL, points="[cncp.pools]\ncells = biology:Cells\n")
    with user_of(site, FILE, "biology"):
        yield site


def ask(site: Site, engines: int) -> str:
    """Have so many engines compute, and return how many processes did."""
    python = str(site.state / "venv" / "bin" / "python")
    done = said([python, "-c", ASK, str(engines)], site.environment, site.home)
    return done.stdout.strip() or done.stderr


def shown(site: Site) -> list[tuple[str, str, str]]:
    """Return what status says of each service and member."""
    done = site.cncp("status", "--json")
    return [(row["name"], row["host"], row["state"]) for row in json.loads(done.stdout) if row["name"] != "controller"]


def test_a_cluster_of_machines_that_come_by_themselves(biology: Site) -> None:
    """From nothing to engines that compute; more, fewer, one that is lost, none, and nothing left."""
    script = ["bash", str(biology.code / "baremetal.sh")]
    made = said(script, biology.environment, biology.home)
    assert made.returncode == 0, made.stderr
    assert "2/2 engines answer" in made.stdout
    assert "[cell0] joined" in made.stderr
    assert ask(biology, 2) == "2"
    assert shown(biology) == [("member", "cell0", "joined"), ("member", "cell1", "joined")]
    assert "1 engine" in biology.cncp("status").stdout
    assert "[localhost] nothing to change" in biology.cncp("plan").stdout

    more = biology.cncp("scale", "3")
    assert "3/3 engines answer" in more.stdout, more.stderr
    assert ask(biology, 3) == "3"
    fewer = biology.cncp("scale", "-2")
    assert fewer.returncode == 0, fewer.stderr
    assert shown(biology) == [("member", "cell0", "joined")]
    assert json.loads(biology.cncp("up", "--json").stdout)["members"][0]["name"] == "cell0"

    os.kill(int((biology.state / "cells" / "cell0.pid").read_text()), 9)
    assert shown(biology) == [("member", "cell0", "lost")]
    assert "[cells] begin cell0" in biology.cncp("plan").stdout

    down = biology.cncp("down")
    assert down.returncode == 0, down.stderr
    assert shown(biology) == []
    assert "1/1 engines answer" in biology.cncp("up").stdout
    assert ask(biology, 1) == "1"
    gone = biology.cncp("uninstall")
    assert gone.returncode == 0, gone.stderr
    assert "ending cell0" in gone.stderr
    assert not biology.state.exists()


def test_a_package_is_installed_that_the_file_needs_already(biology: Site) -> None:
    """By the way out that is named, and by `up` alone; what a pool has made that the file has no more is not lost."""
    wanted = biology.home / "requirements.txt"
    wanted.unlink()
    (biology.home / "cluster.toml").rename(biology.home / "later.toml")
    script = ["bash", str(biology.code / "baremetal.sh"), "--engines", "1"]
    made = said(script, biology.environment, biology.home)
    assert made.returncode == 0, made.stderr

    text = (biology.home / "later.toml").read_text()
    (biology.home / "cluster.toml").write_text(text.replace('requirements = "requirements.txt"\n', ""))
    for verb in (["up"], ["plan"], ["scale", "2"]):
        refused = biology.cncp(*verb)
        assert refused.returncode == 2
        assert "there is no provider 'cells'" in refused.stderr
    installed = biology.cncp("pip", "install", "biology")
    assert installed.returncode == 0, installed.stderr
    assert "2/2 engines answer" in installed.stdout

    # What a pool has made does not go with its table, and is not forgotten either.
    alone = text.partition("[[pool]]")[0].replace('requirements = "requirements.txt"\n', "engines = 1\n")
    (biology.home / "cluster.toml").write_text(alone)
    told = "the pool cells is no longer in the file, and has 2 members"
    up = biology.cncp("up")
    assert (up.returncode, told in up.stderr) == (0, True), up.stderr
    assert told in biology.cncp("check").stdout
    assert [row for row in shown(biology) if row[0] == "member"] == [
        ("member", "cell0", "joined"),
        ("member", "cell1", "joined"),
    ]
    assert "is no longer in the file" in biology.cncp("scale", "3", "--pool", "cells").stderr
    gone = biology.cncp("scale", "0", "--pool", "cells")
    assert gone.returncode == 0, gone.stderr
    assert "ending cell1" in gone.stderr
    assert "all is well" in biology.cncp("check").stdout
    assert biology.cncp("pip", "uninstall", "-y", "biology").returncode == 0

    wanted.write_text("biology\n")
    (biology.home / "cluster.toml").write_text(text)
    up = biology.cncp("up")
    assert up.returncode == 0, up.stderr
    assert "2/2 engines answer" in up.stdout
    (biology.home / "cluster.toml").unlink()
    gone = biology.cncp("uninstall")
    assert gone.returncode == 0, gone.stderr
    assert "ending cell0" in gone.stderr
    assert not biology.state.exists()
