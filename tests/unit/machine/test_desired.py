"""From node attributes to files: pure, complete, and restarts only where something changed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cncp.config.sources import STATIC
from cncp.machine import manifest
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.desired import Desired, desired
from cncp.machine.facts import gather
from cncp.machine.node import Node
from cncp.machine.resources import Block, File, Link
from cncp.machine.services import systemd
from cncp.managed_block import BEGIN, END, split_block
from tests.unit.machine.test_choices import node


def state(made: Node) -> Desired:
    """Return the desired state with some installation and some keys."""
    return desired(made, environment="env", identity="keys")


def text_of(made: Node, ending: str) -> str:
    """Return the content of the file whose path ends like this."""
    return next(
        resource.text()
        for resource in state(made).resources
        if isinstance(resource, File) and resource.path.endswith(ending)
    )


def changed(old: Node, new: Node) -> set[str]:
    """Return which services have to restart between two nodes."""
    before, after = state(old).services, state(new).services
    return {name for name in before.keys() & after.keys() if before[name] != after[name]}


def test_the_same_node_gives_the_same_bytes() -> None:
    """The desired state depends on the node and nothing else."""
    assert state(node()) == state(node())


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        ({"engines": "4"}, set[str]()),
        ({"listen": "all"}, {"controller"}),
        ({"listen": "all", "external": "gold.example"}, {"controller"}),
        ({"listen": "192.0.2.7"}, {"controller", "engine"}),
        ({"heartbeat": "200"}, {"controller", "engine"}),
        ({"database": "sqlite"}, {"controller"}),
        ({"log_keep": "2"}, {"controller", "engine"}),
        ({"jupyter": "true"}, set[str]()),
    ],
)
def test_only_what_changed_restarts(flags: dict[str, Any], kinds: set[str]) -> None:
    """More engines restart none that runs; a setting restarts those that read it."""
    found = changed(node(threads="1"), node(threads="1", **flags))
    assert {name.partition("-")[0] for name in found} == kinds


def test_threads_and_memory_are_the_engines_own_business() -> None:
    """The controller does not restart for what only engines read."""
    base = node({"can_linger": True})
    for flags in ({"threads": "2"}, {"memory": "2G"}, {"pin": "cores"}):
        assert "controller" not in changed(base, node({"can_linger": True}, **flags))
        assert "engine-0" in changed(base, node({"can_linger": True}, **flags))


def test_units_carry_account_limits_and_awkward_paths() -> None:
    """The drop-in quotes as systemd reads: spaces, percent and dollar signs stay what they are."""
    made = node({"root": True}, memory="2G", engines="1")
    made = dataclasses.replace(made, home='/srv/a b/50%/$x"y')
    drop_in = next(
        resource.text()
        for resource in systemd.files(made, {"engine-0": "d"})
        if isinstance(resource, File) and "10-cncp" in resource.path
    )
    lines = drop_in.splitlines()
    assert "User=ada" in lines
    assert "MemoryMax=2G" in lines
    start = next(line for line in lines if line.startswith("ExecStart="))
    assert '"/srv/a b/50%%/$$x\\"y/venv/bin/python"' in start
    assert start.split()[start.split().index('"engine"') + 1] == "%i"


def test_profiles_of_one_account_stay_apart() -> None:
    """Another profile has other units and another profile folder."""
    paths = {resource.path for resource in state(node({"can_linger": True}, profile="gold")).resources}
    assert "/home/ada/.config/systemd/user/cncp-gold-controller.service" in paths
    assert "/i/profile_gold/cncp.json" in paths


def test_hosts_that_share_a_home_leave_one_anothers_units_alone() -> None:
    """Units carry the host in their names and start on it alone; no command serves only one of the hosts."""
    made = dataclasses.replace(node(service_manager="systemd"), instance="gold2")
    assert made.prefix == "cncp-gold2"
    assert f"ConditionHost={made.host}\n" in text_of(made, "cncp-gold2-engine@.service.d/10-cncp.conf")
    assert not [resource.path for resource in state(made).resources if resource.path.endswith("/bin/cncp")]
    assert "ConditionHost" not in text_of(node(service_manager="systemd"), "cncp-engine@.service.d/10-cncp.conf")


def test_enabled_is_a_link_like_any_other_file() -> None:
    """As many links as engines."""
    links = [
        resource for resource in state(node({"can_linger": True}, engines="3")).resources if isinstance(resource, Link)
    ]
    names = [Path(link.path).name for link in links]
    assert names == [
        "cncp.target",
        "cncp-controller.service",
        *(f"cncp-engine@{number}.service" for number in range(3)),
    ]
    links = [
        resource for resource in state(node({"can_linger": True}, jupyter=True)).resources if isinstance(resource, Link)
    ]
    assert Path(links[-1].path).name == "cncp-jupyter.service"
    assert links[-1].target == "../cncp-jupyter.service"


def test_the_tolerance_is_kept_by_scaling_the_misses() -> None:
    """Period times misses is the tolerance, on the controller and on the engines."""
    made = node(heartbeat="200", tolerance="60")
    content = next(
        resource.text()
        for resource in state(made).resources
        if resource.path.endswith("cncp.json") and isinstance(resource, File)
    )
    profile = json.loads(content)
    assert profile["heartmonitor_misses"] * 0.2 == 60
    assert profile["engine_misses"] * 0.7 == pytest.approx(60, abs=0.7)


def test_a_block_leaves_the_users_lines_alone() -> None:
    """Lines around the marked part stay, byte for byte, whichever way they were written."""
    block = Block("/x", "profile", source="profile/ipengine_config.py")
    own = "c = get_config()\r\nc.IPEngine.timeout = 7  # mine\n\n"
    once = block.within(own)
    assert once.startswith(BEGIN + "\n")
    assert once.endswith("\n" + own)
    assert block.within(once) == once
    moved = "# first\n" + once
    assert block.within(moved) == moved
    before, found, after = split_block(moved)
    assert (before, found, after) == ("# first\n", True, "\n" + own)
    assert split_block(f"{BEGIN}\nno end") == (f"{BEGIN}\nno end", False, "")
    assert END not in own


def test_converging_twice_changes_nothing(tmp_path: Path) -> None:
    """A second comparison finds nothing; a damaged file and a lax mode are found and mended."""
    actor = Actor(gather({}).account)
    made = dataclasses.replace(
        node(), home=str(tmp_path / "cncp"), profile_dir=str(tmp_path / "i" / "profile"), account=gather({}).account
    )
    made = dataclasses.replace(made, account=dataclasses.replace(made.account, home=str(tmp_path)))
    resources = state(made).resources
    assert len(embedded.changes(resources)) == len(resources)
    assert not (tmp_path / "cncp").exists()
    embedded.apply(embedded.changes(resources), actor)
    assert embedded.changes(resources) == []
    (tmp_path / "cncp" / "libexec" / "keep").write_text("half")
    (tmp_path / "cncp" / "run").chmod(0o755)
    found = {Path(change.path).name: change.action for change in embedded.changes(resources)}
    assert found == {"keep": "change file", "run": "mode"}
    embedded.apply(embedded.changes(resources), actor)
    assert embedded.changes(resources) == []


def test_the_manifest_remembers_what_stood_there(tmp_path: Path) -> None:
    """A file that others made is kept aside before ours takes its place; ours is not kept again."""
    actor = Actor(gather({}).account)
    target = tmp_path / "bin" / "cncp"
    target.parent.mkdir()
    target.write_text("somebody's own")
    resource = File(str(target), 0o755, "home", content="ours")
    memory = manifest.load(tmp_path / "manifest.json")
    memory.claim((resource,), actor)
    embedded.apply(embedded.changes((resource,)), actor)
    again = manifest.load(tmp_path / "manifest.json")
    again.claim((resource,), actor)
    assert (tmp_path / "before" / again.kept[str(target)]).read_text() == "somebody's own"


def test_the_shell_command_survives_any_path(tmp_path: Path) -> None:
    """The installed command runs in a home of any name; without its Python there is a way out, and it is named."""
    home = tmp_path / 'it\'s here $(x) `y` "z" \\ %'
    code = home / "code" / "bootstrap"
    (code / "cncp").mkdir(parents=True)
    (code / "cncp" / "__main__.py").touch()
    (code / "uninstall.py").write_text("import os, sys; print('undone', os.environ['CNCP_HOME'], sys.argv[1:])")
    made = dataclasses.replace(node(), home=str(home), source=str(home / "code"))
    made = dataclasses.replace(made, account=dataclasses.replace(made.account, uid=os.getuid()))
    script = next(
        resource.text()
        for resource in state(made).resources
        if isinstance(resource, File) and resource.path.endswith("bin/cncp")
    )
    python = home / "venv" / "bin" / "python"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = ["sh", "-c", script, "cncp", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    assert run("uninstall", "--quiet").stdout == f"undone {home} ['uninstall', '--quiet']\n"
    lost = run("status")
    assert lost.returncode == 1
    assert [line.split(":")[0] for line in lost.stderr.splitlines()] == ["error", "hint"]
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    python.chmod(0o755)
    assert run("status", "a b").stdout.startswith("-I|-Xutf8|")
    assert run("status", "a b").stdout.endswith("/__main__.py|status|a b|")
    (code / "cncp" / "__main__.py").unlink()
    assert "the code of this cluster is gone" in run("status").stderr


@pytest.mark.parametrize(("result", "lines"), [("success", 0), ("exit-code", 1), ("oom-kill", 1), ("", 1)])
def test_only_ends_that_nobody_asked_for_are_recorded(tmp_path: Path, result: str, lines: int) -> None:
    """A unit that was stopped, and ended in order, has not failed: `status` counts no restart for it."""
    told = {"SERVICE_RESULT": result, "EXIT_CODE": "exited", "EXIT_STATUS": "0"}
    record = str(STATIC / "libexec" / "record-exit")
    subprocess.run(["/bin/sh", record, str(tmp_path / "engine-0.exits")], check=True, env={**os.environ, **told})
    path = tmp_path / "engine-0.exits"
    assert len(path.read_text().splitlines() if path.exists() else []) == lines
