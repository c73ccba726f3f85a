"""Where an engine finds its controller: at the address that once worked, else wherever a name of it leads today."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from cncp.field_types import Port
from cncp.records import Misfit, Record

NAMES = "names"
"""The key of a connection file under which the controller's names stand, beside the address that worked."""

_PATIENCE = 2.0  # s for a port to answer


@dataclass(frozen=True)
class Ways(Record):
    """What of an engine's connection file says where the controller may be."""

    registration: Port
    names: tuple[object, ...] = ()


def other(document: Mapping[str, object], location: str) -> str:
    """Return the name at which the controller of a connection file answers, "" where ``location`` is to be used.

    Asked at each start: an engine that has lost its controller is started again, until one of them answers.
    """
    try:
        ways = Ways.from_json(document, "the connection file")
    except Misfit:
        return ""
    if not ways.names or _answers(location, ways.registration):
        return ""
    return next((name for name in ways.names if isinstance(name, str) and _answers(name, ways.registration)), "")


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except (OSError, UnicodeError):
        return False
    return True
