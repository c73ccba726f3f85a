"""Labs come and go without a trace, together and after a crash."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..cloud import moto_ec2
from . import base, cli, state
from .cgroup import hierarchies
from .nspawn import Lab
from .site import until

ROOT = Path(__file__).parents[2]

CRASH = """
import os, signal, sys
from tests.lab.nspawn import Lab
lab = Lab().start()
host = lab.host("victim")
host.boot()
host.run(["true"], user="ada")
print(lab.bridge.name, lab.folder, host.machine.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

# Builds a tree of one file in place of Debian's; "die" ends the process half way.
BUILD = """
import os, signal, sys
from tests.lab import base

def build(suite, packages, tree):
    tree.mkdir()
    print("built", flush=True)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    (tree / "whole").touch()

base._build = build
print(base.base_tree("bookworm"))
"""


@pytest.fixture(autouse=True)
def _with_our_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the Pythons that are started here find what pytest finds: the lab uses some of it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "bootstrap"))


def traces(bridge: str, folder: str | Path, machine: str) -> list[str]:
    """List what of a lab can still be found on this machine."""
    found = [f"bridge {bridge}"] if Path("/sys/class/net", bridge).exists() else []
    mounts = Path("/proc/self/mounts").read_text()
    found += [f"mount in {folder}"] if f" {folder}/" in mounts else []
    found += [f"folder {folder}"] if Path(folder).exists() else []
    groups = [top for top in hierarchies().values() if (top / "cncp-lab" / machine).exists()]
    found += [f"control group in {top}" for top in groups]
    for args in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            if str(folder) in args.read_text(errors="replace"):
                found.append(f"process {args.parent.name}")
    return found


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a place of its own for labs that stay, so that a developer's lab is not touched."""
    monkeypatch.setenv("CNCP_LAB_STATE", str(tmp_path))
    yield
    for record in state.records():
        state.dismantle(record)


@pytest.mark.parametrize("ci", ["true", ""])
def test_machine_that_cannot_run_the_lab(tmp_path: Path, ci: str) -> None:
    """Without the programs tests are skipped and say why; in CI that is a failure."""
    one_test = f"{Path(__file__).parent}/test_serve.py::test_servers_end_with_the_tests"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", one_test],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "not installed: systemd-nspawn, mmdebstrap" in ran.stdout
    assert ("1 skipped" in ran.stdout, ran.returncode) == ((False, 1) if ci else (True, 0))


def test_two_labs_at_once_do_not_meet(lab: Lab) -> None:
    """Hosts of the same name in two labs are two hosts, and one lab's end is not the other's."""
    first = lab.host("same")
    first.boot()
    with Lab() as other:
        second = other.host("same")
        second.boot()
        assert first.address != second.address
        first.write("/root/mark", "first")
        assert not second.exists("/root/mark")
        assert second.run(["hostname"]).stdout == "same\n"
        left = (other.bridge.name, other.folder, second.machine.name)
    assert traces(*left) == []
    assert first.run(["hostname"]).stdout == "same\n"
    lab.remove(first)


def test_sweep_removes_a_killed_lab_and_no_other(lab: Lab) -> None:
    """A run that was killed leaves a running host; the next run ends it."""
    died = subprocess.run([sys.executable, "-c", CRASH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    bridge, folder, machine = died.stdout.split()
    assert len(traces(bridge, folder, machine)) >= 4
    assert Lab.sweep() == [bridge]
    assert traces(bridge, folder, machine) == []
    assert lab.bridge.name in Path("/proc/net/dev").read_text()
    assert Lab.sweep() == []


def test_base_tree_is_built_once_for_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed build leaves no half tree; of two at once one builds and both get the tree."""
    trees = tmp_path / "trees"
    monkeypatch.setenv("CNCP_LAB_CACHE", str(trees))

    def build(how: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", BUILD, how]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with build("die") as killed:
        assert killed.communicate()[0] == "built\n"
    said = [builder.communicate()[0].splitlines() for builder in (build("live"), build("live"))]
    tree = said[0][-1]
    assert sorted(said) == sorted([["built", tree], [tree]])
    assert [entry.name for entry in Path(tree).iterdir()] == ["whole"]
    assert sorted(trees.iterdir()) == [Path(tree), Path(f"{tree}.lock")]


def test_base_tree_depends_on_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another list of packages is another tree, in whatever order it is given."""
    monkeypatch.setenv("CNCP_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(base, "_build", lambda *given: given[-1].mkdir())
    plain = base.base_tree("bookworm")
    assert base.base_tree("bookworm", ("b", "a")) == base.base_tree("bookworm", ("a", "b")) != plain
    assert base.base_tree("trixie") != plain


@pytest.mark.usefixtures("lab", "own_state")
def test_lab_stays_up_between_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """``up`` makes hosts that a later command finds, reaches and ends."""
    cli.up(2)
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["n1", "n2"]
    later = subprocess.run(
        [sys.executable, "-c", "from tests.lab import cli; cli.up(2); cli.status()"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert later.stdout == said * 2
    command = said.splitlines()[1].split(maxsplit=4)[4].split()
    reached = subprocess.run([*command, "hostname"], capture_output=True, text=True, check=True)
    assert reached.stdout == "n1\n"
    subprocess.run([sys.executable, "-c", "from tests.lab import cli; cli.down()"], cwd=ROOT, check=True)
    cli.status()
    assert capsys.readouterr().out == "no lab is up\n"


CLOUD = """
import sys
from tests.lab import cli
cli.cloud()
"""

SAYS = "#!/bin/sh\necho this is $(hostname -s) > /dev/console\n"


@pytest.mark.usefixtures("lab", "own_state")
def test_a_cloud_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that is asked for by the API boots with its user-data; nothing is left of a cloud that was ended."""
    import boto3

    for name, value in moto_ec2.KEYS.items():
        monkeypatch.setenv(name, value)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CLOUD], cwd=ROOT, stdout=pipe, text=True) as cloud:
        try:
            assert cloud.stdout is not None
            said = list(itertools.takewhile(lambda line: not line.startswith("engines"), cloud.stdout))
            words = {key: value for key, _, value in (line.strip().partition(" = ") for line in said)}
            client = boto3.client("ec2", endpoint_url=words["endpoint_url"], region_name=words["region"])
            made = client.run_instances(
                ImageId=json.loads(words["image"]), InstanceType=json.loads(words["flavor"]), MinCount=1, MaxCount=1,
                UserData=SAYS,
            )["Instances"][0]  # fmt: skip
            name = f"this is {made['PrivateDnsName'].partition('.')[0]}"

            def console() -> str:
                # boto3 has decoded it.
                return str(client.get_console_output(InstanceId=made["InstanceId"]).get("Output", ""))

            until(lambda: name in console(), 60, "what the instance says")
        finally:
            cloud.terminate()
        assert cloud.wait(60) == 0
    assert state.records() == []
