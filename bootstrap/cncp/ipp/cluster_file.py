"""security/cluster-.json, by which ipyparallel's programs find a cluster: apart, as it is read without any package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cncp.files import read_record
from cncp.records import Record

NAME = "cluster-.json"


@dataclass(frozen=True)
class Described(Record):
    """What ``ipyparallel.Cluster.from_dict`` is given of a cluster."""

    profile_dir: str
    cluster_id: str = ""


@dataclass(frozen=True)
class Owned(Record):
    """What tells a cluster of ours from others: its CNCP_HOME."""

    home: str


@dataclass(frozen=True)
class Listed(Owned):
    """A cluster of ours as it is listed there."""

    cluster: Described


def read(profile: Path) -> Listed | None:
    """Return the cluster whose profile it is, None where it is none of ours."""
    return read_record(profile / "security" / NAME, Listed)


def home(profile: Path) -> str:
    """Return the home of the cluster whose profile it is, "" where it is none of ours."""
    found = read_record(profile / "security" / NAME, Owned)
    return found.home if found else ""
