"""The setting ``environment``: from any origin, merged by variable, in the engines' digest, and shown nowhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cncp.config import profile_export, sources
from cncp.config.parsers import Value
from cncp.config.settings import Cluster, merged, parse
from cncp.config.sources import Kept
from cncp.errors import UsageError
from cncp.fleet import deploy
from cncp.machine import engine_variables
from cncp.machine.actor import Actor
from cncp.machine.facts import gather
from cncp.machine.ops import steps
from tests.unit.machine.test_choices import node
from tests.unit.machine.test_desired import changed, state

POOLS = """
[environment]
SHARED = "one"
BOTH = "cluster's"

[[pool]]
hosts = ["gold1", "gold2"]
[pool.environment]
BOTH = "pool's"
[pool.host.gold2.environment]
OWN = "2"
"""


def read(folder: Path, text: str, outside: dict[str, str] | None = None, **flags: str) -> Cluster:
    """Read a cluster.toml with variables and options."""
    file = folder / "cluster.toml"
    file.write_text(text)
    return sources.gather(file=file, environment=outside or {}, flags=flags, former=Kept({}))


def test_one_form_for_all_origins(tmp_path: Path) -> None:
    """A table, words and a file say the same; the same variables are the same bytes."""
    said = ({"B": "two words", "A": 1}, "A=1 B='two words'", 'B="two words"   A=1')
    assert {parse("environment", text, "x") for text in said} == {"A=1 'B=two words'"}
    (tmp_path / "v.txt").write_text("# mine\nB='two words'\nA=1\n")
    assert parse("environment", f"@{tmp_path}/v.txt", "x") == "A=1 'B=two words'"
    assert parse("environment", {"A": "a\nb=c '\"$%"}, "x") == parse("environment", "A='a\nb=c '\"'\"'\"$%'", "x")
    assert parse("environment", {}, "x") == parse("environment", "", "x") == "none"


@pytest.mark.parametrize("raw", ["A", {"A": True}, {"A": ["s"]}, 3, {"A B": "s"}, {"A": "s\0"}, "A='s", {"HOME": "s"}])
def test_an_error_does_not_show_values(raw: Any) -> None:
    """What is wrong is said without what stands there."""
    with pytest.raises(UsageError) as error:
        parse("environment", {"TOKEN": "secret", **raw} if isinstance(raw, dict) else raw, "f")
    assert "secret" not in f"{error.value.message} {error.value.hint}"
    assert error.value.message == "f: environment is not possible"


def test_later_origins_win_by_variable(tmp_path: Path) -> None:
    """The file, CNCP_ENVIRONMENT and the option each add or replace variables; none takes all away."""
    text = "[environment]\nA = '1'\nB = '2'\n"
    assert read(tmp_path, text, {"CNCP_ENVIRONMENT": "B=3"}, environment="C=4").environment == "A=1 B=3 C=4"
    assert read(tmp_path, text, environment="none").environment == "none"
    assert merged({"environment": "A=1"}, {"threads": 2}) == {"environment": "A=1", "threads": 2}


def test_hosts_have_those_of_their_pool_too(tmp_path: Path) -> None:
    """The cluster's, the pool's and the host's own come together."""
    read(tmp_path, POOLS)
    file = tmp_path / "cluster.toml"
    _, hosts = sources.read(file)
    assert hosts is not None
    found = {
        host.name: sources.for_host(host, file=file, environment={}, flags={}, former=Kept({}))["environment"]
        for host in hosts.hosts
    }
    assert found == {"gold1": "\"BOTH=pool's\" SHARED=one".replace('"', "'").replace("pool's", "pool'\"'\"'s"),
                     "gold2": "'BOTH=pool'\"'\"'s' OWN=2 SHARED=one"}  # fmt: skip


def test_only_engines_restart(tmp_path: Path) -> None:
    """Other variables are other engines; the controller does not read them."""
    restarted = changed(node(engines="1"), node(engines="1", environment="A=1"))
    assert restarted == {"engine-0"}
    made = dataclasses.replace(node(environment="TOKEN=secret"), home=str(tmp_path))
    texts = [resource.text() for resource in state(made).resources if hasattr(resource, "text")]
    assert not [text for text in texts if "secret" in text]


def test_they_are_written_for_the_account_alone(tmp_path: Path) -> None:
    """In a file of their own, once; it goes with the last of them."""
    made = dataclasses.replace(node(environment="TOKEN=secret"), home=str(tmp_path), account=gather({}).account)
    actor = Actor(made.account)
    assert engine_variables.outdated("TOKEN=secret", made.home) == [f"write {tmp_path}/environment (content not shown)"]
    assert steps.write_variables(made, actor) == [f"{tmp_path}/environment"]
    assert (tmp_path / "environment").read_text() == "TOKEN=secret\n"
    assert (tmp_path / "environment").stat().st_mode & 0o777 == 0o600
    assert steps.write_variables(made, actor) == []
    none = dataclasses.replace(made, settings=dataclasses.replace(made.settings, environment="none"))
    assert steps.write_variables(none, actor) == [f"{tmp_path}/environment"]
    assert not (tmp_path / "environment").exists()


def test_a_host_gets_them_in_a_file(tmp_path: Path) -> None:
    """No command line of a host shows them, and no export hands them over."""
    sent: list[tuple[bytes, str]] = []
    host: Any = type("Host", (), {"put": lambda _, content, path: sent.append((content, path))})()
    settings: dict[str, Value] = {"environment": "TOKEN=secret", "engines": 2}
    words = deploy.flags(deploy.variables(host, settings, "/r"))
    assert words == ["--environment=@/r/environment.of-cluster", "--engines=2"]
    assert sent == [(b"TOKEN=secret\n", "/r/environment.of-cluster")]
    read(tmp_path, POOLS)
    shared, hosts = sources.read(tmp_path / "cluster.toml")
    made = profile_export.export(shared, hosts, tmp_path, tmp_path)
    assert "environment" not in str(made.document["files"])
    assert made.notes == ("environment: variables can be secret",)
