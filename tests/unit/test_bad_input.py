"""Bad input: exit 2, a line of what is wrong, a line of what to do, and nothing changed on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.config import sources
from cncp.errors import UsageError
from cncp.tasks.program import run

from .refusal import ROOT, refused

FLAGS = [
    "--engines x",
    "--engines -1",
    "--engines 1025",
    "--engines 1.5",
    "--engines cores-0",
    "--engines cores+1",
    "--engines",
    "--engins 4",
    "--threads 0",
    "--threads many",
    "--pin sockets",
    "--profile ../evil",
    "--profile a/b",
    "--profile ''",
    "--profile -x",
    "--listen 256.1.1.1",
    "--listen everywhere",
    "--external bad_host",
    "--external -oProxyCommand=x",
    "--external 10.0.0.300",
    "--ports 1-20",
    "--ports 20000-20010",
    "--ports 20020-20000",
    "--ports 65530-65560",
    "--ports twenty",
    "--service-manager upstart",
    "--scope global",
    "--database mongo",
    "--encryption maybe",
    "--requirements http://example.org/r.txt",
    "--requirements -rfoo",
    "--memory 64M",
    "--memory 4T",
    "--memory lots",
    "--logs syslog",
    "--log-size 0",
    "--log-keep -1",
    "--heartbeat 10",
    "--tolerance 1",
    "--converge ansible",
    "--role king",
    "--jupyter maybe",
    "--environment A",
    "--environment 1A=x",
    "--environment CNCP_ENGINES=3",
    "--environment HOME=/x",
    "--environment OMP_NUM_THREADS=3",
    "--environment @/nonexistent",
    "--role engine --jupyter true",
    "--frobnicate",
    "up",
    "--service-manager tmux --scope system",
    "--service-manager supervisor --memory 2G",
    "--service-manager screen --logs journal",
    "--tolerance 5 --heartbeat 2000",
    "--external example.org",
    "--role controller --engines 4",
    "--file missing.toml",
    "--offline missing.tar",
]

VARIABLES = [
    ("CNCP_ENGINES", "four"),
    ("CNCP_ENGINS", "4"),
    ("CNCP_PORTS", "80"),
    ("CNCP_ENCRYPTION", "2"),
    ("CNCP_USER", "nobody-of-that-name"),
    ("CNCP_FILE", "/nonexistent/cluster.toml"),
    ("CNCP_HEARTBEAT", "1e3"),
]

FILES = [
    "engines = true",
    "engines = -3",
    "engines = 2.0",
    "engins = 2",
    "pin = true",
    "profile = 3",
    "profile = 'a b'",
    "encryption = 'perhaps'",
    "encryption = 1",
    "heartbeat = '250ms'",
    "ports = [20000, 20100]",
    "engines = ",
    "[engines]",
    "memory = 4",
    "log_size = 1000000",
    "scope = 'user'\nservice_manager = 'systemd'\nrole = 'boss'",
]


def baremetal(home: Path, *arguments: str, **variables: str) -> str:
    """Run baremetal.sh, hold that it refuses and changes nothing, and return what it said."""
    return refused(home, ["bash", ROOT / "baremetal.sh", *arguments], 2, **variables)


@pytest.mark.parametrize("line", FLAGS)
def test_flags(line: str, home: Path) -> None:
    """A flag that makes no sense is refused before anything changes."""
    baremetal(home, *(word.strip("'") for word in line.split(" ")))


@pytest.mark.parametrize(("name", "value"), VARIABLES)
def test_environment(name: str, value: str, home: Path) -> None:
    """So is a variable; a misspelt one too."""
    assert name in baremetal(home, **{name: value}) or name in ("CNCP_FILE", "CNCP_USER")


@pytest.mark.parametrize("content", FILES)
def test_file(content: str, home: Path) -> None:
    """So is a cluster.toml, and the file is named."""
    (home / "cluster.toml").write_text(content)
    assert "cluster.toml" in baremetal(home)


def test_the_hint_names_what_was_probably_meant(home: Path) -> None:
    """A misspelt key or variable is answered with the nearest one."""
    (home / "cluster.toml").write_text("engins = 2")
    assert "did you mean engines?" in baremetal(home)
    (home / "cluster.toml").unlink()
    assert "did you mean CNCP_ENGINES?" in baremetal(home, CNCP_ENGINS="4")


def test_a_setting_of_another_name_is_refused_with_todays(home: Path) -> None:
    """As an option, a variable and in cluster.toml; what an earlier version wrote down is taken over."""
    assert "it is --converge now" in baremetal(home, "--engine", "chef")
    assert "it is --converge now" in baremetal(home, "--engine=chef")
    assert "set CNCP_CONVERGE=chef" in baremetal(home, CNCP_ENGINE="chef")
    (home / "cluster.toml").write_text('engine = "chef"')
    assert "write converge = 'chef'" in baremetal(home)
    (home / "cluster.toml").unlink()
    kept = sources.kept_path(home)
    kept.write_text('{"settings": {"engine": "embedded", "engines": "2"}, "file": ""}')
    assert sources.kept(home).settings == {"converge": "embedded", "engines": 2}
    assert sources.recorded({"engine": "embedded"}).converge == "embedded"
    with pytest.raises(UsageError) as refusal:
        run(["up", "--engine=chef"])
    assert "it is --converge now: --converge chef" in refusal.value.hint
