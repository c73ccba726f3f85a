"""What a ``[[pool]]`` says of instances: its keys, how they are read, and what cannot be.

[[pool]]
provider = "openstack"     # or ec2
cloud = "griffin"          # a name in clouds.yaml, or a profile of AWS
instances = 40             # or "2-40", with idle
image = "debian-12"
flavor = "m1.large"
zones = ["nova-a", "nova-b"]
idle = "30m"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cncp.errors import UsageError
from cncp.pools.base import Want
from cncp.pools.cloud.provider import Template

MOST = 1000
"""Instances of a pool: as many as hosts of a cluster."""

_UNITS = {"s": 1, "m": 60, "h": 3600}

SPOT = ("no", "yes", "fallback")


@dataclass(frozen=True)
class Bounds:
    """How many instances there are to be, at least and at most."""

    low: int
    high: int


def bounds(raw: Any) -> Bounds:
    """Read a number, or two as in "2-40". Raises ValueError."""
    match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", str(raw)) if not isinstance(raw, bool | float) else None
    if match:
        found = Bounds(int(match[1]), int(match[2] or match[1]))
        if found.low <= found.high and 1 <= found.high <= MOST:
            return found
    raise ValueError(f'a number from 1 to {MOST}, or two as in "2-40"')


def duration(least: int, most: int) -> Callable[[Any], int]:
    """Return what reads a time as in 90s, 30m or 2h, in s; "" is 0 where ``least`` is."""

    def read(raw: Any) -> int:
        match = re.fullmatch(r"(\d{1,6})([smh])", raw) if isinstance(raw, str) else None
        seconds = int(match[1]) * _UNITS[match[2]] if match else -1
        if not least <= seconds <= most:
            raise ValueError(f'a time from {_said(least)} to {_said(most)}, as in "30m" or "2h"')
        return seconds

    return read


def _said(seconds: int) -> str:
    unit = next(unit for unit in ("h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _word(wanted: str) -> Callable[[Any], str]:
    def read(raw: Any) -> str:
        if isinstance(raw, str) and re.fullmatch(r"[^\s\x00-\x1f'\"\\][^\x00-\x1f'\"\\]{0,254}", raw):
            return raw
        raise ValueError(wanted)

    return read


def _words(wanted: str) -> Callable[[Any], tuple[str, ...]]:
    word = _word(wanted)

    def read(raw: Any) -> tuple[str, ...]:
        if not isinstance(raw, list) or len(set(map(str, raw))) != len(raw):
            raise ValueError(wanted)
        return tuple(word(text) for text in raw)

    return read


def _spot(raw: Any) -> str:
    named = {True: "yes", False: "no"}.get(raw, raw) if isinstance(raw, bool) else raw
    if named not in SPOT:
        raise ValueError(", ".join(SPOT[:-1]) + f" or {SPOT[-1]}")
    return str(named)


def _price(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 < raw < 100_000:
        raise ValueError("what an hour of an instance costs, as in 0.12")
    return float(raw)


def _url(raw: Any) -> str:
    if isinstance(raw, str) and re.fullmatch(r"https://[^\s'\"\\%]{1,400}", raw):
        return raw
    raise ValueError("a URL that begins with https://")


_NAME = _word("a name, without quotes")

WANTS: Mapping[str, Want] = {
    "instances": Want(bounds, 'N|"LOW-HIGH"', "how many instances; with two numbers as many as there is work for"),
    "image": Want(_word("an image's name or id"), "NAME", "what they boot: a name or id of the cloud"),
    "flavor": Want(_word("a name as in m1.large"), "NAME", "their size: a flavor, on EC2 an instance type"),
    "cloud": Want(_NAME, "NAME", "whose account: a name in clouds.yaml, a profile of AWS", ""),
    "region": Want(_NAME, "NAME", "where, if not where that account is by default", ""),
    "zones": Want(_words("a list of zones"), "[NAME]", "zones, tried in turn; on EC2 subnets too", ()),
    "spot": Want(
        _spot, "no|yes|fallback", "cheaper ones that the cloud may take away; fallback: others for the rest", "no"
    ),
    "idle": Want(duration(60, 86400), "TIME", "how long one has no work until it is ended, as in 30m", 0),
    "idle_client": Want(
        duration(60, 7 * 86400),
        "TIME",
        "how long no client is connected until all are ended, whatever they compute, as in 8h; never without",
        0,
    ),
    "deadline": Want(duration(600, 86400), "TIME", "how long after it was made one can still join", 3600),
    "network": Want(_NAME, "NAME", "of OpenStack, where the project has several", ""),
    "key": Want(_NAME, "NAME", "a key pair of the cloud, for ssh to instances; none without", ""),
    "groups": Want(_words("a list of security groups"), "[NAME]", "security groups besides", ()),
    "controller_group": Want(
        _NAME, "ID", "the controller's security group on EC2: its ports are opened to the instances", ""
    ),
    "price": Want(_price, "NUMBER", "what an hour of one costs, for cncp cloud.list", 0.0),
    "certificate": Want(_word("a file"), "FILE", "authorities in PEM that instances are to trust", ""),
    "index": Want(_url, "URL", "package index for what is installed later", ""),
    "bundle": Want(
        _word("a file"), "FILE", "what instances install from (cncp bundle.make); made by itself without", ""
    ),
    "pythons": Want(
        _word("versions as in 3.11,3.13"), "LIST", "Pythons of the image, for that bundle; this Python's without", ""
    ),
}
"""The keys of a pool of instances, besides those that all hosts can have, such as engines."""


def insist(wanted: Mapping[str, Any], where: str) -> None:
    """Raise UsageError where two keys contradict each other."""
    found: Bounds = wanted["instances"]
    if found.low != found.high and not wanted["idle"]:
        raise UsageError(
            f'{where}: instances = "{found.low}-{found.high}" needs idle',
            'add idle = "30m", after which one without work is ended, or give one number',
        )


def certificate(wanted: Mapping[str, Any], folder: Path, where: str) -> str:
    """Return the certificates that are named. Raises UsageError."""
    if not wanted["certificate"]:
        return ""
    path = folder / Path(wanted["certificate"]).expanduser()
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {path} cannot be read: {error}", "certificate must be a file in PEM") from None
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    blocks = re.findall(rf"{begin}\n[A-Za-z0-9+/=\n]+\n{end}\n", text.replace("\r\n", "\n"))
    if not blocks:
        raise UsageError(f"{where}: {path} has no certificate", f"it must be PEM: {begin} ...")
    return "".join(blocks)


def template(wanted: Mapping[str, Any], ports: str) -> Template:
    """Return what instances are made as; ``ports`` are the controller's."""
    return Template(
        image=wanted["image"],
        flavor=wanted["flavor"],
        zones=wanted["zones"] or ("",),
        network=wanted["network"],
        key=wanted["key"],
        groups=wanted["groups"],
        spot=wanted["spot"] == "yes",
        controller_group=wanted["controller_group"],
        ports=ports,
    )
