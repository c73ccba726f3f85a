"""The kinds of services there are: one table, from which every service manager has its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of service.

    ``unit`` is its file below cookbooks/cncp/files/systemd. Where that is a template (engine@.service)
    the services are KIND-INSTANCE, with instances that ``instance`` matches; else there is one, of
    the kind's own name. ``module`` has its ``serve``, where that is not cncp.serve.KIND.
    """

    unit: str
    instance: str = ""
    module: str = ""


KINDS: Mapping[str, Kind] = {
    "controller": Kind("controller.service"),
    "tunnel": Kind("tunnel@.service", r"[A-Za-z0-9_-]+"),
    "engine": Kind("engine@.service", "[0-9]+"),
    "jupyter": Kind("jupyter.service"),
    "rendezvous": Kind("rendezvous.service"),
    "cidd": Kind("cidd.service", module="cncp.netboot.service.cidd_service"),
    "dnsmasq": Kind("dnsmasq.service", module="cncp.netboot.service.dnsmasq_service"),
}
"""All kinds by name, in starting order."""


def split(name: str) -> tuple[str, str]:
    """Return kind and instance of a service."""
    kind, _, instance = name.partition("-")
    return kind, instance


def join(kind: str, instance: str) -> str:
    """Return the name of a service."""
    return f"{kind}-{instance}" if instance else kind


def known(name: str) -> bool:
    """Tell whether a service of ours can have this name."""
    kind, instance = split(name)
    # The longer name of another profile's service begins like a shorter one of ours.
    return kind in KINDS and re.fullmatch(KINDS[kind].instance, instance) is not None and name == join(kind, instance)


def unit(prefix: str, name: str) -> str:
    """Return the systemd unit of a service."""
    kind, instance = split(name)
    return f"{prefix}-{KINDS[kind].unit.replace('@', f'@{instance}')}"


def of_unit(prefix: str, unit_name: str) -> str:
    """Return the service of a systemd unit, "" where it is none of this prefix."""
    stem = unit_name.removeprefix(f"{prefix}-").removesuffix(".service")
    name = stem.replace("@", "-", 1)
    return name if known(name) and unit(prefix, name) == unit_name else ""


def patterns(prefix: str) -> list[str]:
    """Return what systemctl finds all units of this prefix by."""
    return [f"{prefix}-{kind.unit.replace('@', '@*')}" for kind in KINDS.values()]
