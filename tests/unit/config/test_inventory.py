"""The hosts of a cluster: what a file means, and what is refused with what is wrong and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cncp.config import hostlist, inventory, sources
from cncp.config.settings import BY_KEY
from cncp.errors import UsageError

from ..refusal import answered, cncp_refused

BAD_FILES = {
    "no hosts": "[[pool]]\nengines = 4",
    "no list of pools": '[pool]\nhosts = ["gold1"]',
    "a number of pools": "pool = 3",
    "pools that are words": 'pool = ["gold1"]',
    "hosts is a number": "[[pool]]\nhosts = 4",
    "no host in hosts": "[[pool]]\nhosts = []",
    "a number among hosts": '[[pool]]\nhosts = ["gold1", 2]',
    "an empty name": '[[pool]]\nhosts = [""]',
    "a name with a blank": '[[pool]]\nhosts = ["gold 1"]',
    "an option": '[[pool]]\nhosts = ["-oProxyCommand=touch evil"]',
    "a user that is an option": '[[pool]]\nhosts = ["-l@gold1"]',
    "a path": '[[pool]]\nhosts = ["../gold1"]',
    "a command": '[[pool]]\nhosts = ["gold1;touch evil"]',
    "a port beyond": '[[pool]]\nhosts = ["gold1:65536"]',
    "an empty range": '[[pool]]\nhosts = ["gold[]"]',
    "an open range": '[[pool]]\nhosts = ["gold[1-"]',
    "a range backwards": '[[pool]]\nhosts = ["gold[7-2]"]',
    "a range of letters": '[[pool]]\nhosts = ["gold[a-f]"]',
    "a range of all numbers": '[[pool]]\nhosts = ["gold[1-999999999]"]',
    "two ranges of too many": '[[pool]]\nhosts = ["r[1-100]n[1-100]"]',
    "a host twice": '[[pool]]\nhosts = ["gold[1-3]", "gold2"]',
    "a host in two pools": '[[pool]]\nhosts = ["gold1"]\n[[pool]]\nhosts = ["gold1"]',
    "a misspelt key": '[[pool]]\nhosts = ["gold1"]\nengins = 4',
    "a key of the cluster": '[[pool]]\nhosts = ["gold1"]\nheartbeat = 500',
    "engines that are none": '[[pool]]\nhosts = ["gold1"]\nengines = -4',
    "a bad pin": '[[pool]]\nhosts = ["gold1"]\npin = "sockets"',
    "a user with a dash": '[[pool]]\nhosts = ["gold1"]\nuser = "-x"',
    "a port that is a word": '[[pool]]\nhosts = ["gold1"]\nport = "ssh"',
    "a port that is a switch": '[[pool]]\nhosts = ["gold1"]\nport = true',
    "a jump that is an option": '[[pool]]\nhosts = ["gold1"]\njump = "-oProxyCommand=x"',
    "a python that is an option": '[[pool]]\nhosts = ["gold1"]\npython = "-c"',
    "an address with a dash": '[[pool]]\nhosts = ["gold1"]\naddress = "-x"',
    "a stranger's own table": '[[pool]]\nhosts = ["gold1"]\n[pool.host.gold2]\nengines = 2',
    "an own value": '[[pool]]\nhosts = ["gold1"]\nhost = 3',
    "an own table that is a value": '[[pool]]\nhosts = ["gold1"]\nhost = { gold1 = 3 }',
    "this machine by ssh": '[[pool]]\nhosts = ["localhost"]\nport = 22',
    "a controller that is a list": 'controller = ["gold1"]',
    "a controller that is a range": 'controller = "gold[1-2]"',
    "a controller that is an option": 'controller = "-x"',
    "a file of hosts that is missing": '[[pool]]\nhosts = "absent.txt"',
}

BAD_LISTS = {
    "no host": "# nobody\n\n",
    "an option": "gold1\n-oProxyCommand=x\n",
    "two on a line": "gold1 gold2\n",
    "no text": "\udcff\udcfe",
    "twice": "gold1\ngold1\n",
}

GOLD = "--hosts=gold1"

BAD_LINES = [
    ["hosts.run"],
    ["hosts.run", "--", "true"],
    ["hosts.run", GOLD],
    ["hosts.run", GOLD, "--"],
    ["hosts.run", GOLD, "--", ""],
    ["hosts.run", "--hosts=", "--", "true"],
    ["hosts.run", "--hosts=-x", "--", "true"],
    ["hosts.run", "--hosts=gold[2-1]", "--", "true"],
    ["hosts.run", "--hosts=gold1,gold1", "--", "true"],
    ["hosts.run", "--hosts=ada@localhost", "--", "true"],
    ["hosts.run", "--hosts=gold[1-2000]", "--", "true"],
    ["hosts.run", GOLD, "--limit=gold2", "--", "true"],
    ["hosts.run", GOLD, "--timeout=0", "--", "true"],
    ["hosts.run", GOLD, "--timeout=soon", "--", "true"],
    ["hosts.run", GOLD, "--host-keys=no", "--", "true"],
    ["hosts.run", "--file=absent.toml", "--", "true"],
    ["hosts.run", GOLD, "--frobnicate", "--", "true"],
    ["hosts.put", GOLD, "absent", "there"],
    ["hosts.put", GOLD, "/dev/null", "there"],
    ["hosts.put", GOLD, "here"],
    ["hosts.put", GOLD, "here", ""],
    ["hosts.put", GOLD, "here", ".."],
    ["hosts.get", GOLD, "/", "folder"],
    ["hosts.get", GOLD, "there/..", "folder"],
    ["hosts.get", GOLD, "there"],
    ["hosts.facts"],
    ["hosts.facts", GOLD, "--csv", "--json"],
    ["hosts.fact", GOLD],
    ["init"],
    ["init", ""],
    ["init", "gold1", "gold1"],
    ["init", "-x"],
    ["init", "gold1/2"],
    ["init", "gold1", "--host-keys=maybe"],
    ["profile.import"],
    ["profile.import", "absent.json"],
    ["profile.import", "here"],
    ["profile.import", "."],
    ["profile.import", "absent.py"],
    ["profile.import", "here", "--output=cluster.json"],
    ["profile.export", "--output=folder"],
    ["profile.export", "--output=here"],
    ["profile.export", "--file=absent.toml"],
    ["firewall", "--kind=iptables"],
    ["firewall", "--clients=gold1"],
    ["firewall", "--clients=10.0.0.1/33"],
    ["console", "--engin=engine-0"],
    ["attach", "--nam=controller"],
]


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=list(BAD_FILES))
def test_files_that_make_no_sense(content: str, tmp_path: Path) -> None:
    """What is wrong names the file, and there is a hint; no crash, and nothing is asked of any host."""
    path = tmp_path / "cluster.toml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        sources.read(path)
    assert str(tmp_path) in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize("content", BAD_LISTS.values(), ids=list(BAD_LISTS))
def test_lists_that_make_no_sense(content: str, tmp_path: Path) -> None:
    """So with plain lists of hosts."""
    path = tmp_path / "hosts.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        sources.read(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("words", BAD_LINES, ids=" ".join)
def test_command_lines_that_make_no_sense(words: list[str], tmp_path: Path) -> None:
    """Exit code 2, two lines, nothing changed on disk, no host asked."""
    folder = tmp_path / "work"
    (folder / "folder").mkdir(parents=True)
    (folder / "here").write_text("content")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f"#!/bin/sh\ntouch {folder}/asked\nexit 255\n")
    (programs / "ssh").chmod(0o755)
    refuse = cncp_refused if words == BAD_LINES[0] else answered
    refuse(folder, words, PATH=f"{programs}:{os.environ['PATH']}")


def test_what_hosts_can_have_of_their_own(tmp_path: Path) -> None:
    """Each is a setting that can stand in a pool; one that has another name now is refused with today's."""
    assert set(inventory.ON_HOSTS) <= set(BY_KEY)
    path = tmp_path / "cluster.toml"
    path.write_text('[[pool]]\nhosts = ["gold1"]\nconverge = "embedded"')
    _, hosts = sources.read(path)
    assert hosts is not None
    assert hosts.hosts[0].settings == {"converge": "embedded"}
    path.write_text('[[pool]]\nhosts = ["gold1"]\nengine = "embedded"')
    with pytest.raises(UsageError) as caught:
        sources.read(path)
    assert caught.value.hint == "write converge = 'embedded'"


def test_what_was_probably_meant(tmp_path: Path) -> None:
    """A misspelt key or host is answered with the nearest one."""
    path = tmp_path / "cluster.toml"
    path.write_text('[[pool]]\nhosts = ["gold[1-3]"]\nengins = 4')
    with pytest.raises(UsageError) as caught:
        sources.read(path)
    assert caught.value.hint == "did you mean engines?"
    path.write_text('[[pool]]\nhosts = ["gold[1-3]"]\n[pool.host.gould1]\nengines = 2')
    with pytest.raises(UsageError) as caught:
        sources.read(path)
    assert caught.value.hint == "did you mean gold1?"


def test_ranges() -> None:
    """Numbers, lists of them, leading zeros, several in a name; a name alone is itself."""
    cases = {
        "gold[2-4]": ["gold2", "gold3", "gold4"],
        "gold[2,7-8].example.org": ["gold2.example.org", "gold7.example.org", "gold8.example.org"],
        "node[08-10]": ["node08", "node09", "node10"],
        "r[1-2]n[1-2]": ["r1n1", "r1n2", "r2n1", "r2n2"],
        "ada@gold[1-2]:2222": ["ada@gold1:2222", "ada@gold2:2222"],
        "10.1.2.[3-4]": ["10.1.2.3", "10.1.2.4"],
        "gold": ["gold"],
    }
    for pattern, names in cases.items():
        assert list(hostlist.expand(pattern, "test")) == names


def test_pools_hosts_and_lists(tmp_path: Path) -> None:
    """A host's own table wins over its pool, what stands in its name over both; lists have comments."""
    (tmp_path / "more.txt").write_text("silver[1-2]  # two\n\n# none\nbob@silver3:22\n")
    path = tmp_path / "cluster.toml"
    path.write_text(
        'controller = "gold1"\nheartbeat = 300\n'
        '[[pool]]\nhosts = ["gold[1-2]", "eve@gold3:2200"]\nuser = "ada"\nport = 22\nengines = 4\npin = "cores"\n'
        '[pool.host.gold2]\nengines = 2\naddress = "10.0.0.2"\n'
        '[[pool]]\nhosts = "more.txt"\n'
    )
    settings, hosts = sources.read(path)
    assert settings == {"heartbeat": 300}
    assert hosts is not None
    assert hosts.controller is hosts.hosts[0]
    shown = [(host.name, host.user, host.port, host.settings.get("engines"), host.address) for host in hosts.hosts]
    assert shown == [
        ("gold1", "ada", 22, 4, ""),
        ("gold2", "ada", 22, 2, "10.0.0.2"),
        ("gold3", "eve", 2200, 4, ""),
        ("silver1", "", 0, None, ""),
        ("silver2", "", 0, None, ""),
        ("silver3", "bob", 22, None, ""),
    ]
    assert [host.name for host in hosts.limited("gold[2-3],silver1")] == ["gold2", "gold3", "silver1"]
    listed = sources.read(tmp_path / "more.txt")[1]
    assert listed is not None
    assert [host.name for host in listed.everyone] == ["localhost", "silver1", "silver2", "silver3"]
