"""Whose settings are whose in a cluster of several machines: the controller's machine, and those of engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.config import machine_layers, sources
from cncp.config.host_way import CONNECT, OF_SSH
from cncp.config.settings import Layer


def of_controller(tmp_path: Path, content: str) -> dict[str, object]:
    """Return what a cluster.toml says of the controller's machine."""
    path = tmp_path / "cluster.toml"
    path.write_text(content)
    values, hosts = sources.read(path)
    assert hosts is not None
    return dict(machine_layers.own_layer(values, hosts, str(path)).values)


VM = '[[pool]]\nprovider = "vm"\n'
CASES = {
    "engines elsewhere": ('[[pool]]\nhosts = ["gold1"]\n', {"role": "controller", "listen": "0.0.0.0"}),
    "engines here as well": ('[[pool]]\nhosts = ["localhost", "gold1"]\n', {"role": "compute", "listen": "0.0.0.0"}),
    "engines behind ssh": ('[[pool]]\nhosts = ["gold1"]\nconnect = "reverse"\n', {"role": "controller"}),
    "engines whose machines are made": (VM, {"role": "controller", "listen": "0.0.0.0"}),
    "such behind ssh": (f'{VM}connect = "forward"\n', {"role": "controller"}),
    "both": (f'[[pool]]\nhosts = ["localhost"]\n{VM}', {"role": "compute", "listen": "0.0.0.0"}),
}


@pytest.mark.parametrize(("content", "expected"), CASES.values(), ids=list(CASES))
def test_what_the_pools_imply(tmp_path: Path, content: str, expected: dict[str, object]) -> None:
    """It listens for others where any of them comes directly, and has engines only where a pool names it."""
    assert of_controller(tmp_path, f"engines = 2\n{content}").items() >= expected.items()
    assert ("engines" in of_controller(tmp_path, f"engines = 2\n{content}")) == (expected["role"] == "compute")


def test_the_ways_to_a_host() -> None:
    """Each key reads what it can be; the directions are three."""
    assert CONNECT == ("direct", "forward", "reverse")
    assert [OF_SSH["connect"](way) for way in CONNECT] == list(CONNECT)
    with pytest.raises(ValueError, match="direct, forward or reverse"):
        OF_SSH["connect"]("sideways")


def test_what_is_nothing_to_the_other() -> None:
    """The controller's machine has no settings of engines, and a machine of engines none of the controller."""
    assert machine_layers.without_engines(Layer("x", {"engines": 3, "heartbeat": 500})).values == {"heartbeat": 500}
    assert machine_layers.of_engines({"engines": 3, "listen": "0.0.0.0"}) == {"engines": 3, "role": "engine"}
