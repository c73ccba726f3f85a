"""Names of services, units and sessions: each is found again from the others, and profiles stay apart."""

from __future__ import annotations

import pytest

from cncp.machine.services import kinds

UNITS = {
    "controller": "cncp-controller.service",
    "engine-0": "cncp-engine@0.service",
    "engine-12": "cncp-engine@12.service",
    "jupyter": "cncp-jupyter.service",
}


@pytest.mark.parametrize(("name", "unit"), UNITS.items())
def test_a_service_and_its_unit(name: str, unit: str) -> None:
    """There and back."""
    assert kinds.unit("cncp", name) == unit
    assert kinds.of_unit("cncp", unit) == name
    assert kinds.join(*kinds.split(name)) == name
    assert kinds.known(name)


@pytest.mark.parametrize(
    "unit",
    [
        "cncp-gold-controller.service",
        "cncp-jupyter-controller.service",
        "cncp-engine-jupyter.service",
        "cncp-engine@.service",
        "cncp-engine@x.service",
        "cncp-jupyter@1.service",
        "cncp.target",
        "other-controller.service",
    ],
)
def test_units_of_others(unit: str) -> None:
    """Units of other profiles, and what looks like ours, are nobody's service."""
    assert kinds.of_unit("cncp", unit) == ""


def test_every_kind_is_found() -> None:
    """What systemctl is asked for names each unit, templates with all their instances."""
    assert kinds.patterns("cncp") == [
        "cncp-controller.service",
        "cncp-tunnel@*.service",
        "cncp-engine@*.service",
        "cncp-jupyter.service",
        "cncp-rendezvous.service",
        "cncp-cidd.service",
        "cncp-dnsmasq.service",
    ]
