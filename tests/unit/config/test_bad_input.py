"""Bad input: exit 2, a line of what is wrong, a line of what to do, and nothing changed on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.config import sources
from cncp.errors import UsageError
from cncp.tasks.program import run

from ..refusal import ROOT, not_installed, refused

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


DOORS: list[tuple[str, dict[str, str], str]] = [
    ("--engines x", {}, "engines"),
    ("--engines", {}, "engines"),
    ("--frobnicate", {}, "--frobnicate"),
    ("--profile ''", {}, "profile"),
    ("--role engine --jupyter true", {}, "jupyter"),
    ("--file missing.toml", {}, "missing.toml"),
    ("up", {}, "cncp up"),
    ("", {"CNCP_ENGINES": "four"}, "CNCP_ENGINES"),
    ("", {"CNCP_USER": "nobody-of-that-name"}, "nobody-of-that-name"),
    ("", {"CNCP_FILE": "cluster.toml"}, "cluster.toml"),
]
"""One of a kind, or what the script itself refuses: asked of it."""


def words_of(line: str) -> list[str]:
    """Return the words of a command line, of which ``''`` is the empty one."""
    return [word.strip("'") for word in line.split(" ")] if line else []


@pytest.mark.parametrize(("line", "variables", "named"), DOORS)
def test_the_script(line: str, variables: dict[str, str], named: str, home: Path) -> None:
    """What makes no sense is refused by what users start, from a shell to the last line."""
    (home / "cluster.toml").write_text("engins = 2" if "CNCP_FILE" in variables else "")
    assert named in refused(home, ["bash", ROOT / "baremetal.sh", *words_of(line)], 2, **variables)


@pytest.mark.parametrize("line", FLAGS)
def test_flags(line: str, home: Path) -> None:
    """A flag that makes no sense is refused before anything changes."""
    not_installed(home, words_of(line))


@pytest.mark.parametrize(("name", "value"), VARIABLES)
def test_environment(name: str, value: str, home: Path) -> None:
    """So is a variable; a misspelt one too."""
    assert name in not_installed(home, [], 2, **{name: value}) or name == "CNCP_FILE"


@pytest.mark.parametrize("content", FILES)
def test_file(content: str, home: Path) -> None:
    """So is a cluster.toml, and the file is named."""
    (home / "cluster.toml").write_text(content)
    assert "cluster.toml" in not_installed(home, [])


def test_the_hint_names_what_was_probably_meant(home: Path) -> None:
    """A misspelt key or variable is answered with the nearest one."""
    (home / "cluster.toml").write_text("engins = 2")
    assert "did you mean engines?" in not_installed(home, [])
    (home / "cluster.toml").unlink()
    assert "did you mean CNCP_ENGINES?" in not_installed(home, [], CNCP_ENGINS="4")


def test_a_setting_of_another_name_is_refused_with_todays(home: Path) -> None:
    """As an option, a variable and in cluster.toml; what an earlier version wrote down is taken over."""
    assert "it is --converge now" in not_installed(home, ["--engine", "chef"])
    assert "it is --converge now" in not_installed(home, ["--engine=chef"])
    assert "set CNCP_CONVERGE=chef" in not_installed(home, [], CNCP_ENGINE="chef")
    (home / "cluster.toml").write_text('engine = "chef"')
    assert "write converge = 'chef'" in not_installed(home, [])
    (home / "cluster.toml").unlink()
    kept = sources.KEPT.path(home)
    kept.write_text('{"settings": {"engine": "embedded", "engines": "2"}, "file": ""}')
    assert sources.kept(home).settings == {"converge": "embedded", "engines": 2}
    assert sources.recorded({"engine": "embedded"}).converge == "embedded"
    with pytest.raises(UsageError) as refusal:
        run(["up", "--engine=chef"])
    assert "it is --converge now: --converge chef" in refusal.value.hint
