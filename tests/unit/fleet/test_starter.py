"""A first cluster.toml: hosts of one shape in one pool, those that fail as comments, and cncp reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cncp.config import hostlist, inventory, sources
from cncp.config.hostlist import fold
from cncp.config.selection import named
from cncp.fleet.hardware_report import Hardware
from cncp.fleet.init_file import Found, text
from cncp.ssh.host_errors import HostError
from cncp.tasks import line
from cncp.tasks.verbs import task

from .test_hosts import cncp

FOLDED = [
    (["gold2", "gold3", "gold4"], ["gold[2-4]"]),
    (["gold7", "gold2", "gold3"], ["gold[2-3,7]"]),
    (["gold9", "gold10", "gold11"], ["gold[9-11]"]),
    (["node08", "node09", "node10"], ["node[08-10]"]),
    (["node1", "node01", "node2", "node02"], ["node[1-2]", "node[01-02]"]),
    (["node0", "node1"], ["node[0-1]"]),
    (["a", "b"], ["a", "b"]),
    (["gold2.example.org", "gold3.example.org"], ["gold[2-3].example.org"]),
    (["10.1.2.3", "10.1.2.4"], ["10.1.2.[3-4]"]),
    (["ada@gold2:2222", "ada@gold3:2222", "gold4"], ["ada@gold[2-3]:2222", "gold4"]),
    (["r1n1", "r1n2", "r2n1"], ["r1n[1-2]", "r2n1"]),
    (["gold5"], ["gold5"]),
]


@pytest.mark.parametrize(("names", "patterns"), FOLDED)
def test_names_are_folded(names: list[str], patterns: list[str]) -> None:
    """Ranges stand for exactly the names there were."""
    assert fold(names) == patterns
    again = [name for pattern in patterns for name in hostlist.expand(pattern, "test")]
    assert sorted(again) == sorted(names)


def host(**other: Any) -> Hardware:
    """Return what a host of the usual kind is found to be."""
    usual = {"cores": 4, "cpu": "A CPU", "memory": 16 * 2**30 - 2**28, "gpus": (), "os": "Debian 12", "systemd": True}
    others = {"disk_free": 1, "home": "/", "kernel": "6.1", "load": 0.0, "numa": 1, "sockets": 1, "users": ()}
    return Hardware(**{**usual, **others, "pythons": ("3.11.2",), **other})


def read(content: str, folder: Path) -> inventory.Inventory:
    """Return the hosts that cncp reads in a file."""
    path = folder / "cluster.toml"
    path.write_text(content)
    _, hosts = sources.read(path)
    assert hosts is not None
    for spec in hosts.hosts:
        sources.for_host(spec, file=path, environment={}, flags={}, former=sources.Kept({}))
    sources.gather(file=path, environment={}, flags={}, former=sources.Kept({}))
    return hosts


def test_equal_hosts_are_one_pool(tmp_path: Path) -> None:
    """Cores, memory and GPUs make the pools; failures and what hosts say are comments, whatever is in them."""
    specs = named("ada@gold[2-4],gpu1:2222,bad,old,localhost")
    evil = 'x\n[[pool]]\nhosts = ["evil"]\r#\u2028'
    found = Found(
        {
            "gold2": host(),
            "gold3": host(memory=16 * 2**30 - 2**27, pythons=("3.10.1", "3.12.1")),
            "gold4": host(cores=8),
            "gpu1": host(cores=4, gpus=("A100", "A100"), os=evil, cpu=evil),
            "localhost": host(systemd=False, cores=2),
        },
        {"bad": HostError("bad", evil, "mend\nit"), "old": HostError("old", "no Python", "install")},
        (("gold2", "gold3"),),
    )
    content = text(specs, found)
    hosts = read(content, tmp_path)
    assert [spec.name for spec in hosts.hosts] == ["gold2", "gold3", "gold4", "gpu1", "localhost"]
    assert [spec.settings["engines"] for spec in hosts.hosts] == [4, 4, 8, "gpus", 2]
    assert [spec.user for spec in hosts.hosts] == ["ada", "ada", "ada", "", ""]
    assert hosts.hosts[3].port == 2222
    assert 'hosts = ["ada@gold[2-3]"]' in content
    assert "# One home folder, with one installation: gold[2-3]\n" in content
    assert "# old is left out: no Python (install)\n" in content
    # The values that are only offered are possible ones, too.
    read(content.replace("# memory", "memory"), tmp_path)


def test_of_this_machine(tmp_path: Path) -> None:
    """The command prints a file that can be used, several words being several hosts."""
    done = cncp("init", "localhost", folder=tmp_path)
    assert [spec.name for spec in read(done.stdout, tmp_path).hosts] == ["localhost"]
    words = ["a", "b,c", "--timeout", "5", "d"]
    assert {"hosts": "a,b,c,d", "host_keys": "accept-new", "timeout": 5}.items() <= line.read(
        "init", task("init"), words
    ).items()
    assert cncp("init", "a/b", folder=tmp_path, status=2).stderr.startswith("error: command line: 'a/b' is no host")
