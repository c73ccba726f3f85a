"""A program's cluster: what the verbs do, as methods of an object; and its hosts as Fabric has them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import cncp

from .sshd import SSHD, Server, key, serving
from .support import ROOT, Site, said

GOLD = [f"gold{number}" for number in range(1, 6)]

EXAMPLE = ROOT / "examples" / "own-tasks" / "tasks.py"

PROGRAM = """
import os, sys
import cncp
cluster = cncp.Cluster.from_file("cluster.toml")
made = cluster.up(service_manager="supervisor", converge="embedded", heartbeat=1000)
assert made == cncp.Report(engines=2, answering=2, changed=True), made
assert not cluster.up().changed
with cluster.client() as client:
    assert client[:].map_sync(lambda x: x**2, range(4)) == [0, 1, 4, 9]
    assert len(set(client[:].apply_sync(os.getpid))) == 2
states = {service.name: service.state for service in cluster.status()}
assert states == {"controller": "up", "engine-0": "idle", "engine-1": "idle"}, states
cluster.scale(1)
cluster.scale("+2")
with cluster.client() as client:
    assert len(client) == 3
for wrong in (
    lambda: cluster.scale(-1),
    lambda: cluster.up(engine=3),
    lambda: cluster.up(heartbeat="often"),
    cluster.hosts,
    lambda: cluster.client(engines=4, timeout=1),
):
    try:
        wrong()
    except cncp.CncpError as error:
        print(f"{error.message} -> {error.hint}")
    else:
        raise AssertionError("nothing was refused")
cluster.down()
assert {service.state for service in cluster.status()} == {"down"}
assert "CNCP_FORCE" not in os.environ
"""


def program(site: Site, code: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the user's, who has cncp installed."""
    environment = {**site.environment, "PYTHONPATH": str(ROOT / "bootstrap")}
    return said([sys.executable, "-c", code], environment, site.home)


@pytest.fixture
def near(site: Site) -> Iterator[Site]:
    """Return a home whose path is short enough for supervisord's socket."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        site.home = Path(folder)
        yield site


def test_a_cluster_in_a_program(near: Site) -> None:
    """From nothing to engines that compute, more and fewer of them, and down; what is wrong is an error with a hint."""
    (near.home / "cluster.toml").write_text("engines = 2\n")
    try:
        done = program(near, PROGRAM)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            'scale -1 is not possible -> fewer engines are "-1", as text',
            "up: there is no setting 'engine' -> did you mean engines?",
            (
                "command line (--heartbeat): heartbeat = 'often' is not possible"
                " -> heartbeat must be a whole number from 100 to 60000 ms"
            ),
            "the cluster has no other machines -> name some in cluster.toml: [[pool]] hosts = [...]",
            "3 of 4 engines are registered after 1 s -> look at them: cncp check",
        ]
        # Nothing is said that was not asked for.
        assert done.stderr == ""
    finally:
        said([str(near.home / ".local/bin/cncp"), "uninstall"], near.environment, near.home)


def test_it_costs_nothing_until_it_is_used() -> None:
    """Engines import the package as well: nothing is imported with it."""
    code = "import sys; before = set(sys.modules); import cncp; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=ROOT / "bootstrap"
    )
    assert done.stdout == "['cncp']\n"
    assert cncp.Cluster.__module__ == "cncp.api"
    assert all(hasattr(cncp, name) for name in cncp.__all__)
    assert not hasattr(cncp, "Clutser")


@pytest.fixture
def sshd(home: Path, tmp_path: Path) -> Iterator[Server]:
    """Run an sshd that knows the home's key."""
    if not SSHD.exists():
        pytest.skip("there is no sshd on this machine")
    folder = tmp_path / "sshd"
    folder.mkdir()
    with serving(folder, key(home / ".ssh" / "cncp_ed25519")) as server:
        yield server


def cluster_file(folder: Path, sshd: Server) -> Path:
    """Write a cluster.toml of hosts on loopback, all but the first one behind the same jump host."""
    path = folder / "cluster.toml"
    addresses = "\n".join(f'[pool.host.gold{number}]\naddress = "127.0.0.{number}"' for number in range(2, 6))
    path.write_text(
        f"""
[[pool]]
hosts = ["gold1"]
address = "127.0.0.1"
user = "{sshd.user}"
port = {sshd.port}

[[pool]]
hosts = ["gold[2-5]"]
user = "{sshd.user}"
port = {sshd.port}
jump = "{sshd.user}@127.0.0.9:{sshd.port}"
{addresses}
"""
    )
    return path


def test_tasks_of_ones_own_on_all_hosts(home: Path, sshd: Server, tmp_path: Path) -> None:
    """The example's tasks reach the hosts of the file as it says, also several behind one jump host."""
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder)
    cluster_file(folder, sshd)

    def invoke(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "bootstrap")}
        return said([sys.executable, "-m", "invoke", *words], environment, folder)

    done = invoke("load")
    assert done.returncode == 0, done.stderr
    assert sorted(line.partition(":")[0] for line in done.stdout.splitlines()) == GOLD
    assert invoke("load", "--limit=gold2").stdout.startswith("gold2: ")


def test_a_host_of_another_key_is_refused(home: Path, sshd: Server, tmp_path: Path) -> None:
    """A host whose key is not the one that ssh knows by its name is not logged in to, as by ssh."""
    from fabric.exceptions import GroupException
    from paramiko.ssh_exception import BadHostKeyException

    cluster = cncp.Cluster.from_file(cluster_file(tmp_path, sshd))
    other = key(tmp_path / "other" / "key")
    known = "".join(f"{name} {sshd.host_key}\n" for name in GOLD[1:])
    (home / ".ssh" / "known_hosts").write_text(f"gold1 {other}\n{known}")
    with pytest.raises(GroupException) as refused:
        cluster.hosts().run("true", hide=True, in_stream=False)
    failed = {host.original_host: error for host, error in refused.value.result.failed.items()}
    assert list(failed) == ["gold1"]
    assert isinstance(failed["gold1"], BadHostKeyException)


def test_without_fabric(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named, and how to get it."""
    monkeypatch.setitem(sys.modules, "fabric", None)
    (tmp_path / "hosts").write_text("gold1\n")
    with pytest.raises(cncp.CncpError, match="Fabric is not installed here") as refused:
        cncp.Cluster.from_file(tmp_path / "hosts").hosts()
    assert "pip install 'cncp[fabric]'" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), ("engines = [", "is not TOML"), ("[[pool]]\n", "names no hosts")],
)
def test_a_file_that_makes_no_sense(content: str | None, message: str, tmp_path: Path) -> None:
    """It is refused at once, not at the first use."""
    path = tmp_path / "cluster.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(cncp.CncpError, match=message):
        cncp.Cluster.from_file(path)
