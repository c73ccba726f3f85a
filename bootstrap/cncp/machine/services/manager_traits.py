"""What a service asks of its manager, without reading how that works: all of it is time in which no engine starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cncp.machine.node import Node


class Traits(NamedTuple):
    """What of ``ServiceManager`` matters to the services themselves: see there."""

    keeps_output: bool = False
    ends_all: bool = False


OURS: Mapping[str, Traits] = {
    "systemd": Traits(keeps_output=True, ends_all=True),
    "supervisor": Traits(keeps_output=True),
    "tmux": Traits(),
    "screen": Traits(),
}
"""Those of our managers; a test holds them against the classes."""


def traits(node: Node) -> Traits:
    """Return what the service manager of a node does. Raises CncpError where there is none of its name."""
    if node.manager in OURS:
        return OURS[node.manager]
    from cncp.machine.services import manager_kind

    kind = manager_kind(node)
    return Traits(kind.keeps_output, kind.ends_all)
