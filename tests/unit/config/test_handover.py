"""A cluster's description handed on, and profiles of plain ipyparallel taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cncp.config import ipyparallel_profile, profile_export, sources, writer
from cncp.config.inventory import HostSpec, Inventory
from cncp.errors import UsageError
from cncp.managed_block import BEGIN, END

from ..fleet.test_hosts import cncp

GOLD = """
engines = "cores-1"
heartbeat = 300
ports = "21000-21040"
listen = "10.1.2.9"
external = "mymachine.example.org"
requirements = "needs.txt"

[[pool]]
hosts = ["gold[2-7].example.org"]
user = "ada"
jump = "ada@gate,other:22"
engines = 4
[pool.host."gold3.example.org"]
engines = 2
python = "HOME/py/bin/python"

[[pool]]
hosts = ["silver[01-02]"]
python = "/opt/python3.12/bin/python3"
offline = true
port = 2222
"""
NEEDS = (
    "numpy==2.0\n-e HOME/mine\n--index-url https://ada:hunter2@example.org/simple\nmine @ file:///srv/x.whl\n./a.whl\n"
)


def read(path: Path) -> tuple[dict[str, Any], Inventory | None]:
    """Return what cncp reads in a file that it accepts."""
    writer.checked(path.read_text())
    return sources.read(path)


def test_there_and_back_without_what_is_mine(tmp_path: Path, home: Path) -> None:
    """Settings, hosts and requirements arrive; accounts, addresses, paths, passwords and code stay behind."""
    (tmp_path / "cluster.toml").write_text(GOLD.replace("HOME", str(home)))
    (tmp_path / "needs.txt").write_text(NEEDS.replace("HOME", str(home)))
    profile = home / ".ipython" / "profile_cncp"
    (profile / "security").mkdir(parents=True)
    (profile / "security" / "ipcontroller-client.json").write_text('{"key": "hunter3"}')
    (profile / "ipengine_config.py").write_text(f"{BEGIN}\nours = 1\n{END}\n\nc.password = 'hunter4'\n")
    (profile / "ipcontroller_config.py").write_text(f"{BEGIN}\nours = 1\n{END}\n\n# a comment\n")
    done = cncp("profile.export", folder=tmp_path)
    text = (tmp_path / "cncp-profile.json").read_text()
    for word in ("hunter", str(home), str(tmp_path), "mymachine", "10.1.2.9", "ada", "x.whl", "a.whl"):
        assert word not in text, word
    for note in ("external", "listen", "requirements: 4 lines", "python", "user", "own lines in ipengine_config.py"):
        assert f"left out: {note}" in done.stderr.replace("left out: your own", "left out: own"), done.stderr
    assert "ipcontroller_config.py" not in done.stderr
    there = tmp_path / "there"
    there.mkdir()
    cncp("profile.import", "../cncp-profile.json", folder=there)
    settings, hosts = read(there / "cluster.toml")
    assert settings == {
        "engines": "cores-1",
        "heartbeat": 300,
        "ports": "21000-21040",
        "requirements": str(there / "requirements.txt"),
    }
    assert (there / "requirements.txt").read_text() == "numpy==2.0\n"
    assert hosts is not None
    engines = {host.name.partition(".")[0]: host.settings.get("engines") for host in hosts.hosts}
    assert engines == {
        **{f"gold{number}": 4 for number in (2, 4, 5, 6, 7)},
        "gold3": 2,
        "silver01": None,
        "silver02": None,
    }
    silver = next(host for host in hosts.hosts if host.name == "silver02")
    assert (silver.python, silver.offline, silver.port) == ("/opt/python3.12/bin/python3", True, 2222)
    assert next(host for host in hosts.hosts if host.name == "gold3.example.org").jump == "gate,other:22"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Neither by an export nor by an import, unless --force is given."""
    cncp("profile.export", folder=tmp_path)
    assert "exists" in cncp("profile.export", folder=tmp_path, status=2).stderr
    cncp("profile.import", "cncp-profile.json", folder=tmp_path)
    (tmp_path / "cluster.toml").write_text("engines = 2\n")
    assert "exists" in cncp("profile.import", "cncp-profile.json", folder=tmp_path, status=2).stderr
    assert (tmp_path / "cluster.toml").read_text() == "engines = 2\n"
    cncp("profile.import", "cncp-profile.json", "--force", folder=tmp_path)
    assert "engines" not in (tmp_path / "cluster.toml").read_text()


BAD = {
    "no JSON": "engines = 2",
    "another object": "[1]",
    "no files": '{"format": 1}',
    "no cluster": '{"format": 1, "files": {}}',
    "another format": '{"format": 2, "files": {"cluster.toml": ""}}',
    "another file": '{"format": 1, "files": {"cluster.toml": "", "../.bashrc": "evil"}}',
    "no text": '{"format": 1, "files": {"cluster.toml": 3}}',
    "half a character": r'{"format": 1, "files": {"cluster.toml": "# \ud800"}}',
    "bad settings": '{"format": 1, "files": {"cluster.toml": "engins = 2"}}',
    "bad hosts": r'{"format": 1, "files": {"cluster.toml": "[[pool]]\nhosts = [\"-oProxyCommand=x\"]"}}',
    "a file of somebody": '{"format": 1, "files": {"cluster.toml": "requirements = \'/etc/passwd\'"}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", BAD.values(), ids=list(BAD))
def test_what_is_no_export_is_refused(content: str, tmp_path: Path) -> None:
    """Exit code 2, what and hint, and nothing written."""
    (tmp_path / "it.json").write_text(content)
    done = cncp("profile.import", "it.json", folder=tmp_path, status=2)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "it.json"]


PLAIN = """
# Configuration file for ipcluster.
import os
c = get_config()  #noqa
c.IPClusterEngines.engine_launcher_class = 'ipyparallel.cluster.launcher.SSHEngineSetLauncher'
c.Cluster.n = 24
c.SSHEngineSetLauncher.engines = {
    'gold2': 4, 'gold3': 4, 'ada@gold4:2222': (2, ['--log-to-file']), 'localhost': 2, 'gold5': 0, '-oX=y': 4,
    'gold6': 'many',
}
c.SSHEngineSetLauncher.engines['gold7'] = 4
c.SSHControllerLauncher.hostname = 'gold1'
c.IPController.ip = '*'
c.IPController.location = 'gold1.example.org'
c.IPController.db_class = 'ipyparallel.controller.sqlitedb.SQLiteDB'
c.IPController.reuse_files = True
c.IPController.enable_curve = False
c.HeartMonitor.period = 1000
c.SSHLauncher.ssh_args = ['-tt', '-oUser=x']
c.Cluster.delay = os.getenv("DELAY")
open(MARK, "w")
if True:
    c.Cluster.n = 3
"""


def test_a_profile_of_plain_ipyparallel(tmp_path: Path) -> None:
    """Hosts, numbers of engines, addresses and databases are understood; the rest is told, and nothing is executed."""
    profile = tmp_path / "profile_gold"
    profile.mkdir()
    mark = tmp_path / "executed"
    (profile / "ipcluster_config.py").write_text(PLAIN.replace("MARK", repr(str(mark))))
    done = cncp("profile.import", "profile_gold", folder=tmp_path)
    assert not mark.exists()
    settings, hosts = read(tmp_path / "cluster.toml")
    assert settings == {
        "listen": "0.0.0.0",
        "external": "gold1.example.org",
        "database": "sqlite",
        "heartbeat": 1000,
    }
    assert hosts is not None
    assert hosts.controller.name == "gold1"
    found = {host.name: (host.settings["engines"], host.user, host.port) for host in hosts.hosts}
    assert found == {
        "gold2": (4, "", 0),
        "gold3": (4, "", 0),
        "gold4": (2, "ada", 2222),
        "localhost": (2, "", 0),
        "gold7": (4, "", 0),
    }
    text = (tmp_path / "cluster.toml").read_text()
    assert 'hosts = ["gold[2-3,7]"]' in text
    for words in (
        "arguments ['--log-to-file'] are left out",
        "'gold5': none",
        "'-oX=y' = 4 is left out",
        "'gold6' = 'many' is left out",
        "ssh_args = ['-tt', '-oUser=x'] has no counterpart",
        'computed, and so not read: c.Cluster.delay = os.getenv("DELAY")',
        "not read: open(",
        "not read: if True:",
        "enable_curve = False: cncp encrypts",
    ):
        assert words in text, words
        assert words in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c.Cluster.n = 4", {"engines": 4}),
        ("c.Cluster.n = None", {}),
        ("c.Cluster.n = -4", {}),
        ("c.IPController.ip = '127.0.0.1'", {"listen": "127.0.0.1"}),
        ("c.IPController.ip = 'eth0'", {}),
        ("c.IPController.location = 'x'", {}),
        ("c.IPController.db_class = 'MongoDB'", {}),
        ("c.IPController.ports = '21000-21100'", {"ports": "21000-21100"}),
        ("c.IPController.ports = [1, 2]", {}),
        ("c.Cluster.engine_launcher_class = 'slurm'", {}),
        ("c.Cluster.n = c.Other.n = 4", {}),
        ("d.Cluster.n = 4", {}),
        ("c.Cluster.n.m = 4", {}),
        ("(c).Cluster.n = 4", {"engines": 4}),
        ("c.SSHEngineSetLauncher.engines = 4", {}),
        ("c.Cluster.n = [" + "[" * 80 + "]" * 80 + "]", {}),
    ],
)
def test_single_lines(line: str, expected: dict[str, Any], tmp_path: Path) -> None:
    """What is possible is taken over, what is not is told; never both."""
    file = tmp_path / "ipcluster_config.py"
    file.write_text(line)
    found = ipyparallel_profile.read(file)
    made = ipyparallel_profile.settings(found, found.notes)
    assert made == expected
    assert bool(found.notes) != bool(expected) or line.endswith("None")


@pytest.mark.parametrize("content", [b"c.x.y = ", b"\xff\xfe", b"c.x.y = 1\0", b"(" * 5000])
def test_what_is_no_configuration(content: bytes, tmp_path: Path) -> None:
    """It is refused with what and hint."""
    file = tmp_path / "ipcluster_config.py"
    file.write_bytes(content)
    with pytest.raises(UsageError):
        ipyparallel_profile.read(file)
    with pytest.raises(UsageError, match="holds no configuration"):
        ipyparallel_profile.read(tmp_path / "home")


def test_our_own_profile_says_nothing(tmp_path: Path) -> None:
    """The part that belongs to cncp is not taken for the user's."""
    folder = tmp_path / "profile_cncp"
    folder.mkdir()
    for name in ipyparallel_profile.FILES:
        ours = (sources.STATIC / "profile" / name).read_text()
        (folder / name).write_text(f"{BEGIN}\n{ours}{END}\n")
    found = ipyparallel_profile.read(folder)
    assert (found.settings, found.hosts, found.notes) == ({}, [], [])


def test_what_is_written_is_read_back() -> None:
    """Text with quotes, controls and odd characters survives; comments stay comments."""
    odd = 'a"b\\c\nd\te\x7f\u2028grün'
    toml = sources.toml_reader()
    text = "\n".join(writer.lines({"profile": odd}, None, [odd, "x\rengines = 3"]))
    assert toml.loads(text) == {"profile": odd}
    hosts = Inventory((HostSpec("gold2", settings={"engines": 4}),), HostSpec("gold1", user="ada", port=22))
    assert toml.loads("\n".join(writer.lines({}, hosts)))["controller"] == "ada@gold1:22"
    with pytest.raises(UsageError):
        profile_export.load(Path("/nonexistent"))
