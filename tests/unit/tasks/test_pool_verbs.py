"""The verbs with a pool of somebody else's: they go by what all pools offer, and know nothing of any one kind."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.config.inventory import HOSTS
from cncp.pools.providers import PROVIDERS

from ..elsewhere import install
from ..refusal import answered, ran
from ..source import CODE, syntax

CELLS = '''\
"""Members that come by themselves; what there is of them stands in a file."""
import os
from pathlib import Path
from cncp.config.parsers import within
from cncp.errors import CncpError
from cncp.pools.base import Member, Pool, State, Want

FILE = Path(os.environ["HOME"]) / "cells"


class Cells(Pool):
    kind = "cells"
    counted = "count"
    wants = {"count": Want(within(1, 9), "N", "how many", 2)}

    def check(self):
        if self.count == 9:
            raise CncpError("there is room for 8", "count = 8")

    def _there(self):
        return FILE.read_text().split() if FILE.exists() else []

    def plan(self):
        return [f"grow cell{number}" for number in range(len(self._there()), self.count)]

    def acquire(self, say):
        FILE.write_text(" ".join(f"cell{number}" for number in range(self.count)))
        return ()

    def surplus(self):
        return self._there()[self.count:]

    def observe(self):
        return [Member(name, State.BOOTING, "it divides", 1.0) for name in self._there()]

    def release(self, names, say):
        say(f"ending {', '.join(names)}")
        FILE.write_text(" ".join(name for name in self._there() if name not in names))


class Broken(Cells):
    kind = "broken"

    def observe(self):
        return [][0]
'''


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a home whose path is short enough for supervisord's socket, with the package and a cluster.toml."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as made:
        home, packages = Path(made), Path(made, "packages")
        monkeypatch.setenv("HOME", made)
        points = {"cells": "biology:Cells", "broken": "biology:Broken", "lost": "physics:Cells", "none": "biology:FILE"}
        install(packages, "biology", {"biology": CELLS}, {"cncp.pools": points})
        monkeypatch.syspath_prepend(str(packages))
        monkeypatch.delitem(sys.modules, "biology", raising=False)
        (home / "cluster.toml").write_text('[[pool]]\nprovider = "cells"\n')
        yield home


def test_a_plan_has_what_a_pool_would_do(folder: Path) -> None:
    """Beside this machine's own part of it; it changes something, and nothing is changed."""
    planned = ran(folder, ["plan", "--json", "--detailed-exitcode"], PATH=os.defpath)
    assert planned.returncode == 5, planned.stderr
    document = json.loads(planned.stdout)
    assert document["cells"] == {"acquire": ["grow cell0", "grow cell1"]}
    assert document["localhost"]["start"] == ["controller"]
    words = ran(folder, ["plan"], PATH=os.defpath).stdout.splitlines()
    assert {"[cells] grow cell0", "[cells] grow cell1", "[localhost] start controller"} <= set(words)
    assert not (folder / "cells").exists()


REFUSED = {
    "a provider that nobody has": ('provider = "cels"', "plan", 2, "did you mean cells?"),
    "one that does not import": ('provider = "lost"', "up", 1, "cannot be imported: ModuleNotFoundError"),
    "one that is no pool": ('provider = "none"', "status", 1, "biology:FILE is no Pool"),
    "more than can be had": ('provider = "cells"\ncount = 9', "up", 1, "there is room for 8"),
    "a value that is not possible": ('provider = "cells"\ncount = 10', "down", 2, "count must be a whole number"),
    "a key that nobody has": ('provider = "cells"\ncuont = 1', "scale 2", 2, "did you mean count?"),
    "a setting that is not possible": ('provider = "cells"\nengines = "some"', "check", 2, "engines must be"),
    "contradictory settings": ('provider = "cells"\nmemory = "1G"\nservice_manager = "tmux"', "up", 2, "memory"),
}


@pytest.mark.parametrize(("table", "line", "status", "said"), REFUSED.values(), ids=list(REFUSED))
def test_refused(folder: Path, table: str, line: str, status: int, said: str) -> None:
    """One line of what is wrong and one of what to do, before anything is done on any machine."""
    (folder / "cluster.toml").write_text(f"[[pool]]\n{table}\n")
    assert said in answered(folder, line.split(" "), status)


PER_LINE = {
    "scale 3 --pool cell": "--pool cell, which is no pool",
    "scale 3 --pool cells --limit localhost": "contradict each other",
    "scale 10": "count must be a whole number from 1 to 9",
    "scale -2": "count must be a whole number from 1 to 9",
}


@pytest.mark.parametrize("line", PER_LINE)
def test_numbers_that_make_no_sense(folder: Path, line: str) -> None:
    """Of a pool that is there."""
    assert PER_LINE[line] in answered(folder, line.split(" "), 2)


def test_a_pool_needs_a_cluster_with_pools(folder: Path) -> None:
    """Where the cluster is this machine alone there is none to be named."""
    (folder / "cluster.toml").write_text("engines = 2\n")
    assert "no pool of this cluster has a number" in answered(folder, ["scale", "3", "--pool", "cells"])


FORBIDDEN = {"aws", "boto", "cloud", "ec2", "netboot", "openstack", "qemu", "slurm", "vagrant", "vm"}
VERBS = (
    *("tasks/cluster.py", "tasks/main_job.py", "tasks/plan.py", "tasks/rollout_report.py", "tasks/scenes.py", "api.py"),
    *("fleet/membership.py", "fleet/model.py", "fleet/operations.py", "fleet/plan.py", "fleet/rollout.py"),
    *(
        "fleet/scene.py",
        "fleet/phases/acquire.py",
        "fleet/phases/publish.py",
        "fleet/phases/await_members.py",
        "fleet/phases/tell_former.py",
    ),
    *("pools/base.py", "pools/counts.py", "pools/former_pools.py", "pools/guarded.py"),
)


def words(source: str) -> set[str]:
    """Return the words in names and texts of code, but for what is said of it."""
    found, said = list[str](), list[str | None]()
    for node in ast.walk(syntax(source)):
        found += [value for field in ("id", "attr", "arg", "name", "module") if (value := getattr(node, field, None))]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            said.append(ast.get_docstring(node, clean=False))
    return {word.lower() for text in found if text not in said for word in re.findall(r"[A-Za-z0-9]+", text)}


@pytest.mark.parametrize("file", VERBS)
def test_verbs_know_of_no_kind(file: str) -> None:
    """Neither does what they go through: what is special to a kind of pool is behind what all of them offer."""
    kinds = set(PROVIDERS.ours) - {HOSTS}
    assert not words((CODE / "cncp" / file).read_text()) & (FORBIDDEN | kinds)
