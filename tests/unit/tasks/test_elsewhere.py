"""Verbs of a cluster whose controller's machine looks after its pools: what is run there, and with what."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

import cncp
from cncp.config import sources
from cncp.config.inventory import HostSpec
from cncp.errors import UsageError
from cncp.fleet import registry
from cncp.fleet.registry import Placed
from cncp.ssh.connection import Local
from cncp.tasks import elsewhere, guide, scenes
from cncp.tasks.verbs import task

from ..refusal import answered, ran

FILE = """# mine
controller = "gold1"
requirements = "of-here.txt"
listen = "all"
[[pool]]
provider = "ec2"
instances = 2
image = "ami-1"
flavor = "m"
certificate = "of-gold1.pem"
"""


class Gold(Local):
    """The controller's machine: what is run there is noted, and answered."""

    def __init__(self, spec: HostSpec, *, strict: bool = False) -> None:
        super().__init__(spec)
        self.strict = strict

    def __enter__(self) -> Gold:  # noqa: PYI034  # no subclasses
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Said:
    """What a command there said, and how it ended."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.out, self.err, self.status = b"", "", 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a machine that has set up gold1, with a file that says so in use."""
    home = tmp_path / "cncp"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CNCP_HOME", str(home))
    monkeypatch.setenv("CNCP_FILE", str(tmp_path / "cluster.toml"))
    (tmp_path / "cluster.toml").write_text(FILE)
    (tmp_path / "of-here.txt").write_text("scipy\n")
    there = tmp_path / "there"
    registry.save(
        home, {"gold1": Placed("gold1", str(there), str(there), {"CNCP_HOME": str(there)}, (), HostSpec("gold1"))}
    )
    return home


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Have gold1 note what it is asked."""
    noted = Said()

    @contextlib.contextmanager
    def running(host: Gold, argv: Sequence[str], timeout: float, **named: Any) -> Iterator[Any]:
        noted.argv = list(argv)
        if noted.err:
            named["err"](noted.err)

        class Command:
            output = io.BytesIO(noted.out)
            status = noted.status

        yield Command

    monkeypatch.setattr(elsewhere, "Remote", Gold)
    monkeypatch.setattr("cncp.ssh.stream.running", running)
    return noted


def words(said: Said) -> list[str]:
    """Return the words of cncp there, which is its own master."""
    assert "CNCP_HERE=" in said.argv
    return said.argv[said.argv.index("cncp") + 1 :]


@pytest.mark.parametrize(
    ("line", "there"),
    [
        (["status"], ["status"]),
        (["status", "--json"], ["status", "--json"]),
        (["scale", "+2", "--wait", "60"], ["scale", "--count=+2", "--wait=60"]),
        (["logs", "engine-0,controller", "--lines", "5"], ["logs", "--name=engine-0,controller", "--lines=5"]),
        (["down", "--force", "--quiet"], ["down", "--quiet", "--force"]),
        (["cloud.list"], ["cloud.list"]),
        (["cloud.sweep", "--yes"], ["cloud.sweep", "--yes"]),
        (["check", "--from-hosts"], ["check", "--from-hosts"]),
        (["keys.rotate", "--wait", "7", "--host-keys", "strict"], ["keys.rotate", "--wait=7"]),
        (["keys.revoke", "--yes"], ["keys.revoke", "--yes"]),
        (["logs", "--lines", "0"], ["logs", "--lines=0"]),
        (["invite", "--hours", "", "--engines", "0"], ["invite", "--hours=", "--engines=0"]),
    ],
)
def test_verbs_are_run_there(home: Path, said: Said, line: list[str], there: list[str]) -> None:
    """With their options, and with the file that is here, of which who has the controller is left out."""
    done = ran(home.parent, line)
    assert done.returncode == 0, done
    file = home.parent / "there" / "handed" / "cluster.toml"
    given = words(said)
    assert given[0] == there[0]
    assert sorted(given[1:]) == sorted([*there[1:], f"--file={file}"])
    left_out = 'controller = "gold1"\nrequirements = "of-here.txt"\n'
    assert file.read_text() == FILE.replace(left_out, "")
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_said_there_is_said_here(home: Path, said: Said, capfd: pytest.CaptureFixture[str]) -> None:
    """Both streams, and the exit code."""
    said.out, said.err, said.status = b"NAME\nengine-0\n", "error: 1 engine is busy", 3
    asked = scenes.asked(None)
    with pytest.raises(Exit) as ended:
        elsewhere.run(asked, scenes.elsewhere(asked), ["down"])  # type: ignore[arg-type]
    assert ended.value.code == 3
    assert not ended.value.message
    sys.stdout.flush()
    assert tuple(capfd.readouterr()) == ("NAME\nengine-0\n", "error: 1 engine is busy\n")


def test_settings_go_with_it(home: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line and variables say; files are brought, and no list of processes shows a secret."""
    (home.parent / "more.txt").write_text("numpy\n")
    monkeypatch.setenv("CNCP_ENVIRONMENT", "TOKEN=secret")
    monkeypatch.setenv("CNCP_THREADS", "2")
    assert ran(home.parent, ["plan", "--requirements", "more.txt", "--jupyter", "true"]).returncode == 0
    there = home.parent / "there"
    given = words(said)
    assert {"--jupyter=true", "--threads=2", "--forget"} <= set(given)
    assert f"--requirements={there}/requirements.of-cluster.txt" in given
    assert (there / "requirements.of-cluster.txt").read_text() == "numpy\n"
    assert f"--environment=@{there}/environment.of-cluster" in given
    assert "secret" not in " ".join(said.argv)
    assert ran(home.parent, ["plan"]).returncode == 0
    assert (there / "requirements.of-cluster.txt").read_text() == "scipy\n", "the file's, where nobody says another"
    (home.parent / "cluster.toml").write_text(FILE.replace('requirements = "of-here.txt"', ""))
    assert ran(home.parent, ["plan"]).returncode == 0
    assert "--requirements=none" in words(said), "what is said no longer counts no longer"


def test_variables_of_busy_engines(home: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count for a verb there as they would here."""
    monkeypatch.setenv("CNCP_WAIT", "60")
    monkeypatch.setenv("CNCP_FORCE", "true")
    assert ran(home.parent, ["down"]).returncode == 0
    assert said.argv[:3] == ["env", "CNCP_WAIT=60", "CNCP_FORCE=true"]
    assert words(said)[0] == "down"


def test_without_what_was_said_before(home: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """--forget leaves out which file was in use, and with that whose the cluster is: this machine is meant."""
    cluster_file = (home.parent / "cluster.toml").rename(home.parent / "of-gold1.toml")
    sources.KEPT.save(home, sources.Kept({}, str(cluster_file)))
    monkeypatch.delenv("CNCP_FILE")
    assert ran(home.parent, ["plan"]).returncode == 0
    assert words(said)[0] == "plan"
    said.argv = []
    ran(home.parent, ["plan", "--forget"])
    assert not said.argv
    assert ran(home.parent, ["plan", "--forget", "--file", str(cluster_file)]).returncode == 0
    assert words(said)[0] == "plan"


def test_before_anything_is_there(home: Path, said: Said) -> None:
    """It is said how to begin."""
    registry.save(home, {})
    said_here = answered(home.parent, ["status"], 1)
    assert "nothing has been set up on gold1 from here" in said_here
    assert "cncp up" in said_here
    assert not said.argv


def test_what_concerns_this_machine_stays_here(home: Path, said: Said) -> None:
    """A cluster on this machine, and one of hosts alone, are asked from here."""
    for text in ("", 'controller = "gold1"\n[[pool]]\nhosts = ["gold2"]\n', FILE.replace('"gold1"', '"localhost"')):
        (home.parent / "cluster.toml").write_text(text)
        assert scenes.elsewhere(scenes.asked(None)) is None
    assert not said.argv


def test_each_is_called_by_its_name() -> None:
    """What stands at a verb for the other machine is what that is called there too."""
    there = {name for name in guide.VERBS if task(name).at_controller}
    assert there >= {
        "status",
        "logs",
        "check",
        "scale",
        "restart",
        "down",
        "interrupt",
        "plan",
        "keys.rotate",
        "invite",
    }
    assert all(task(name).at_controller == name for name in there)


def test_programs_are_told_where(home: Path, said: Said) -> None:
    """A program's cluster is asked in its own process, which is on the wrong machine."""
    cluster = cncp.Cluster.from_file(home.parent / "cluster.toml")
    for use in (cluster.up, cluster.status, cluster.down, cluster.client):
        with pytest.raises(UsageError, match="gold1 makes the pools") as refused:
            use()
        assert "use cncp.Cluster there" in refused.value.hint
