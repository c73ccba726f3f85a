"""Facts in, choices out: service manager, engines, threads, GPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cncp.accounts import Account
from cncp.config import sources
from cncp.config.asked import request
from cncp.config.sources import Kept
from cncp.errors import CncpError, PreflightError
from cncp.machine.facts import Facts, gpus
from cncp.machine.node import Node, resolve
from cncp.machine.root import authority

PLAIN = Facts(
    account=Account("ada", 1000, 1000, "/home/ada"),
    root=False,
    sudo="none",
    cores=8,
    gpus=(),
    host="lovelace",
    systemd=True,
    user_manager=True,
    lingering=False,
    can_linger=False,
)


def node(facts: dict[str, Any] | None = None, **flags: Any) -> Node:
    """Resolve settings on a machine with these facts; ``present`` are engines that are there."""
    present, past = flags.pop("present", ()), flags.pop("past", None)
    wanted = sources.gather(file=None, environment={}, flags=flags, former=Kept({}))
    seen = dataclasses.replace(PLAIN, **(facts or {}))
    return resolve(wanted, seen, home=Path("/h"), ipython_dir=Path("/i"), present=present, past=past)


@pytest.mark.parametrize(
    ("facts", "flags", "chosen"),
    [
        ({}, {}, ("supervisor", "user")),
        ({"can_linger": True}, {}, ("systemd", "user")),
        ({"can_linger": True, "user_manager": False}, {}, ("supervisor", "user")),
        ({"root": True}, {}, ("systemd", "system")),
        ({"root": True, "systemd": False}, {}, ("supervisor", "user")),
        ({"systemd": False}, {}, ("supervisor", "user")),
        ({}, {"service_manager": "systemd"}, ("systemd", "user")),
        ({}, {"scope": "user"}, ("systemd", "user")),
        ({"sudo": "prompt"}, {"scope": "system"}, ("systemd", "system")),
        ({"root": True}, {"service_manager": "supervisor"}, ("supervisor", "user")),
        ({}, {"service_manager": "tmux"}, ("tmux", "user")),
    ],
)
def test_service_manager(facts: dict[str, Any], flags: dict[str, Any], chosen: tuple[str, str]) -> None:
    """Each kind of login gets what keeps its services running for good."""
    made = node(facts, **flags)
    assert (made.manager, made.scope) == chosen
    assert made.why


@pytest.mark.parametrize(
    ("facts", "flags", "exit_code"),
    [
        ({}, {"scope": "system"}, 4),
        ({"systemd": False}, {"service_manager": "systemd"}, 4),
        ({"user_manager": False}, {"scope": "user"}, 4),
        ({"root": True}, {"scope": "user"}, 4),
        ({}, {"engines": "gpus"}, 4),
        ({"cores": 2}, {"engines": "cores-2"}, 4),
        ({"systemd": False}, {"memory": "2G"}, 4),
        ({"systemd": False}, {"logs": "journal"}, 4),
        ({}, {"engines": "0", "role": "engine"}, 1),
    ],
)
def test_impossible(facts: dict[str, Any], flags: dict[str, Any], exit_code: int) -> None:
    """What a machine cannot give is refused with a line of what and one of what to do."""
    with pytest.raises(CncpError) as refused:
        node(facts, **flags)
    assert refused.value.exit_code == exit_code
    assert refused.value.hint


@pytest.mark.parametrize(
    ("flags", "engines", "threads"),
    [
        ({}, 8, 1),
        ({"engines": "cores-1"}, 7, 1),
        ({"engines": "2"}, 2, 4),
        ({"engines": "3"}, 3, 2),
        ({"engines": "16"}, 16, 1),
        ({"engines": "2", "threads": "3"}, 2, 3),
        ({"role": "controller"}, 0, 8),
    ],
)
def test_engines_and_threads(flags: dict[str, Any], engines: int, threads: int) -> None:
    """Engines times threads is the number of cores unless set otherwise."""
    made = node(**flags)
    assert (made.engines, made.threads) == (engines, threads)


def test_gpus_are_shared_out() -> None:
    """With gpus there is one engine a GPU, and CUDA_VISIBLE_DEVICES limits which."""
    assert node({"gpus": ("0", "3")}, engines="gpus").engine_ids == (0, 1)
    assert gpus({"CUDA_VISIBLE_DEVICES": "3,GPU-abc"}) == ("3", "GPU-abc")
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()


@pytest.mark.parametrize(
    ("count", "present", "ids"),
    [
        ("3", (), (0, 1, 2)),
        ("2", (5, 0, 3), (0, 5)),
        ("4", (5, 0), (0, 1, 2, 5)),
        ("0", (1, 2), ()),
    ],
)
def test_scaling_touches_as_few_engines_as_it_can(count: str, present: tuple[int, ...], ids: tuple[int, ...]) -> None:
    """Engines that are there stay, those named first the longest; free ids are filled from below."""
    assert node(present=present, engines=count).engine_ids == ids


def test_a_node_survives_being_stored() -> None:
    """The attributes are the same after a way through JSON."""
    made = node({"gpus": ("0", "1")}, engines="gpus", listen="all", external="lovelace.example.org")
    assert Node.from_json(made.to_json(), "it") == made


def test_layers_override_each_other_in_order(home: Path) -> None:
    """Defaults, role, kept values, file, environment, flags: the later wins."""
    file = home / "cluster.toml"
    file.write_text("engines = 3\nheartbeat = 300\ntolerance = 40\n")
    made = sources.gather(
        file=file,
        environment={"CNCP_HEARTBEAT": "400", "CNCP_TOLERANCE": "50", "PATH": "/bin"},
        flags={"tolerance": "60"},
        former=Kept({"engines": 9, "threads": 2, "heartbeat": 900}),
    )
    assert (made.threads, made.engines, made.heartbeat, made.tolerance) == (2, 3, 400, 60)


def test_paths_are_those_of_where_they_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's are beside it, a variable's and a flag's in the folder of this run; all are made absolute."""
    here = home / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    file = home / "cluster.toml"
    file.write_text("requirements = 'r.txt'")

    def named(file: Path | None = None, **environment: str) -> str:
        return sources.gather(file=file, environment=environment, flags={}, former=Kept({})).requirements

    assert named(file) == str(home / "r.txt")
    assert named(CNCP_REQUIREMENTS="r.txt") == str(here / "r.txt")
    assert named(CNCP_REQUIREMENTS="~/r.txt") == str(home / "r.txt")
    for value in ("none", "/r.txt", "https://example.org/r.txt"):
        assert named(CNCP_REQUIREMENTS=value) == value
    asked = request({}, file=None, flags={"requirements": "../r.txt", "engines": "2"}, forget=True)
    assert asked.flags == {"requirements": f"{here}/../r.txt", "engines": "2"}


def _past(**changes: Any) -> Node:
    """Return what is installed: units of the system, made by root."""
    made = node({"root": True})
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("past", "facts", "flags", "chosen"),
    [
        # Without sudo, with it, and with a manager of the user's own that would do.
        ({}, {}, {}, ("systemd", "system")),
        ({}, {"can_linger": True}, {}, ("systemd", "system")),
        ({}, {"sudo": "silent"}, {}, ("systemd", "system")),
        ({"scope": "user"}, {"root": True}, {}, ("systemd", "user")),
        ({"manager": "supervisor", "scope": "user"}, {"root": True}, {}, ("supervisor", "user")),
        ({"manager": "supervisor", "scope": "user"}, {"can_linger": True}, {}, ("supervisor", "user")),
        # A setting says otherwise, or needs otherwise; or the machine has it no more.
        ({}, {"can_linger": True}, {"scope": "user"}, ("systemd", "user")),
        ({}, {}, {"service_manager": "tmux"}, ("tmux", "user")),
        ({"manager": "supervisor", "scope": "user"}, {"can_linger": True}, {"memory": "1G"}, ("systemd", "user")),
        ({}, {"systemd": False}, {}, ("supervisor", "user")),
        ({"scope": "user"}, {"user_manager": False}, {}, ("supervisor", "user")),
        ({"instance": "other"}, {}, {}, ("supervisor", "user")),
    ],
)
def test_what_is_installed_holds(
    past: dict[str, Any], facts: dict[str, Any], flags: dict[str, Any], chosen: tuple[str, str]
) -> None:
    """Who runs a verb does not decide what the cluster is."""
    made = node(facts, past=_past(**past), **flags)
    assert (made.manager, made.scope) == chosen


def test_the_reason_holds_as_well() -> None:
    """It is written down, so that another one would be a change."""
    past = _past()
    assert node({}, past=past).why == past.why == "run by root"


def test_without_roots_rights_a_step_of_root_is_refused_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint is a command that has them."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.delenv("CNCP_ROOT", raising=False)
    past = _past(source="/opt/its code")
    for sudo in ("silent", "prompt"):
        authority.require(past, sudo, "down")
    with pytest.raises(PreflightError) as refused:
        authority.require(past, "none", "down")
    assert "CNCP_USER=ada bash '/opt/its code/baremetal.sh' cncp down" in refused.value.hint
    authority.require(_past(scope="user"), "none", "down")
