"""What Chef is told: complete, strict, without secrets, and the same that the embedded engine installs."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from cncp.errors import CncpError, UsageError
from cncp.ipp import keys
from cncp.machine import chef_api, manifest
from cncp.machine.actor import Actor
from cncp.machine.converge import embedded
from cncp.machine.node import Node
from cncp.machine.ops import steps
from cncp.machine.services import ServiceManager

SETTINGS = {"service_manager": "supervisor", "engines": 2}


@pytest.fixture
def environment(home: Path) -> Iterator[Mapping[str, str]]:
    """Return the environment of a document: a home whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="cncp-", dir="/tmp"))
    yield {"HOME": str(home), "CNCP_HOME": str(folder)}
    shutil.rmtree(folder)


def described(environment: Mapping[str, str], **settings: Any) -> Node:
    """Return the node that these settings describe."""
    return chef_api.describe(chef_api.Given({**SETTINGS, **settings}), environment)


def asked(environment: Mapping[str, str], *words: str) -> dict[str, Any]:
    """Return the answer to a command line."""
    return chef_api.answer(words, chef_api.Given(SETTINGS), environment).to_json()


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"settings": {"engins": 2}}, "did you mean engines?"),
        ({"settings": {"engines": "many"}}, "engines must be"),
        ({"settings": {"heartbeat": True}}, "heartbeat must be"),
        ({"settings": ["engines"]}, "settings is to be an object"),
        ({"setings": {}}, "an object of busy, engine_ids, machine"),
        ({"engine_ids": "0"}, "engine_ids is to be a list"),
        ({"engine_ids": [-1]}, "engine_ids[0] is to be a whole number from 0 to 1023"),
        ({"machine": {"host": "x"}}, "machine.settings is to be there"),
        ({"busy": {"wait": "long"}}, "busy.wait is to be a number"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], hint: str, environment: Mapping[str, str]) -> None:
    """Attributes pass the same checks as everything a user writes."""
    with pytest.raises(UsageError) as refused:
        chef_api.describe(chef_api.Given.read(json.dumps(given)), environment)
    assert hint in f"{refused.value.message} {refused.value.hint}"
    assert "node attributes" in refused.value.message


def test_defaults_that_chef_repeats_were_not_chosen(environment: Mapping[str, str]) -> None:
    """Chef hands over every default: a controller with the default of engines is no contradiction."""
    assert described(environment, role="controller", engines="cores").engines == 0
    with pytest.raises(UsageError, match="contradict"):
        described(environment, role="controller", engines=3)


def test_a_machine_with_every_choice_made_is_taken_as_it_is(environment: Mapping[str, str]) -> None:
    """What `cncp up` hands over is the node it describes, whoever's rights Chef has."""
    node = described(environment, threads=3)
    given = json.dumps({"settings": {}, "machine": node.to_json()})
    assert chef_api.describe(chef_api.Given.read(given), environment) == node


def test_engines_to_keep_are_kept(environment: Mapping[str, str]) -> None:
    """With engine_ids, engines keep their numbers."""
    assert chef_api.describe(chef_api.Given(SETTINGS, (5, 1)), environment).engine_ids == (1, 5)


def test_resources_come_in_an_order_to_be_made_in(environment: Mapping[str, str]) -> None:
    """Every folder comes before what is in it, those above included, with an owner of their own."""
    made: set[Path] = set()
    for resource in asked(environment, "desired")["resources"]:
        path = Path(resource["path"])
        assert path.parent in made or path.parent.is_dir(), path
        made.add(path)
        assert resource["owner"] in ("login", "root")
        assert ("content" in resource) + ("source" in resource) == (resource["kind"] == "file")


def test_it_holds_what_the_embedded_engine_installs(environment: Mapping[str, str]) -> None:
    """Path for path: the same content and the same modes."""
    node = described(environment)
    told = {resource["path"]: resource for resource in asked(environment, "desired")["resources"]}
    embedded.apply(embedded.changes(steps.wanted(node).resources), Actor(node.account))
    for path, resource in told.items():
        assert Path(path).stat().st_mode & 0o7777 == int(resource["mode"], 8), path
        if "content" in resource:
            assert Path(path).read_text() == resource["content"]


def test_no_secret_is_in_it(environment: Mapping[str, str]) -> None:
    """Neither key of the identity leaves its file."""
    assert any("cncp-identity" in line for line in asked(environment, "prepare")["changed"])
    identity = keys.load(described(environment).identity)
    assert identity is not None
    told = json.dumps([asked(environment, "desired"), asked(environment, "prepare")])
    secrets = json.loads(described(environment).identity.read_text())
    for name in ("key", "curve_secretkey"):
        assert secrets[name] not in told


def test_what_the_user_closed_stays_closed(environment: Mapping[str, str], home: Path) -> None:
    """A folder keeps a stricter mode, and the user's own lines in a file stay with its mode."""
    profile = home / ".ipython" / "profile_cncp"
    profile.mkdir(parents=True)
    profile.chmod(0o700)
    own = profile / "ipengine_config.py"
    own.write_text("c.IPEngine.timeout = 99\n")
    own.chmod(0o640)
    told = {resource["path"]: resource for resource in asked(environment, "desired")["resources"]}
    assert told[str(profile)]["mode"] == "0700"
    assert told[str(own)]["mode"] == "0640"
    assert told[str(own)]["content"].endswith("\nc.IPEngine.timeout = 99\n")
    own.write_bytes(b"# \xff\n")
    with pytest.raises(CncpError, match="not UTF-8"):
        asked(environment, "desired")


def test_a_dry_run_changes_nothing(environment: Mapping[str, str]) -> None:
    """It says what would be done, and a second real one has nothing left to do."""
    folder = Path(environment["CNCP_HOME"])
    assert asked(environment, "prepare", "--dry-run")["changed"]
    assert list(folder.iterdir()) == []
    asked(environment, "prepare")
    assert asked(environment, "prepare")["changed"] == []
    assert asked(environment, "services", "--dry-run", "engine")["start"] == ["engine-0", "engine-1"]


@pytest.mark.parametrize(
    "words", [(), ("desire",), ("services", "engines"), ("services", "--dry", "engine"), ("wait", "long")]
)
def test_a_wrong_command_line_is_refused(words: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Verbs and kinds of services are checked."""
    with pytest.raises(UsageError, match="there is no"):
        chef_api.answer(words, chef_api.Given(), environment)


def test_beneath_a_run_that_holds_the_lock_nothing_is_locked(environment: Mapping[str, str]) -> None:
    """`cncp up` holds the lock while Chef calls back; anybody else's lock is respected."""
    node = described(environment)
    lock = Path(environment["CNCP_HOME"]) / "lock"
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        lock.write_text(json.dumps({"pid": os.getppid(), "since": 0, "what": "cncp up"}))
        with chef_api.locked(node, "test"):
            pass
        lock.write_text(json.dumps({"pid": os.getpid(), "since": 0, "what": "cncp up"}))
        with pytest.raises(CncpError, match="held by cncp up"), chef_api.locked(node, "test"):
            pass


@pytest.mark.parametrize("profile", ["cncp", "engine"])
def test_what_goes_is_the_part_of_the_resource_it_was_of(profile: str, environment: Mapping[str, str]) -> None:
    """A file that nothing wants any more is taken away by the resource that made it, and by no other."""
    node = chef_api.describe(chef_api.Given({"profile": profile}), environment)
    units = "/etc/systemd/system"
    for path, part in (
        (f"{units}/{node.prefix}.target.wants/{node.prefix}-engine@1.service", "engine"),
        (f"{units}/{node.prefix}-engine@.service", "engine"),
        (f"{units}/{node.prefix}-engine@.service.d/10-cncp.conf", "engine"),
        (f"{units}/{node.prefix}-controller.service", "controller"),
        (f"{units}/{node.prefix}-jupyter.service.d/10-cncp.conf", "jupyter"),
        (f"{units}/{node.prefix}.target", "profile"),
        (f"{node.home}/supervisor/programs/engine-1.conf", "engine"),
        (f"{node.home}/supervisor/programs/tunnel-gold-2.conf", "tunnel"),
        (f"{node.profile_dir}/ipengine_config.py", "profile"),
    ):
        assert chef_api._part(node, path) == part, path


class Quiet:
    """A service manager under which nothing runs."""

    def states(self) -> dict[str, Any]:
        """Return none."""
        return {}

    def reload(self) -> None:
        """Have nothing to read."""


def test_folders_of_units_go_when_their_manager_is_left(home: Path, environment: Mapping[str, str]) -> None:
    """Those in which others have something stay, and are known for `cncp uninstall`."""
    node = described(environment)
    units = Path(node.account.home) / ".config" / "systemd" / "user"
    folders = [units / name for name in ("cncp-engine@.service.d", "cncp.target.wants", "default.target.wants")]
    for folder in folders:
        folder.mkdir(parents=True)
    (folders[2] / "mine.service").symlink_to("../mine.service")
    memory = manifest.Manifest(steps.manifest_path(node))
    memory.made = {str(folder): ("login", "directory") for folder in (*folders, Path(node.profile_dir) / "old")}
    actor = Actor(node.account)
    memory.save(actor)
    steps.settle(node, cast("ServiceManager", Quiet()), actor, lambda _: None, kinds=())
    assert list(units.iterdir()) == [folders[2]]
    assert list(manifest.load(memory.path).made) == [str(folders[2])]
