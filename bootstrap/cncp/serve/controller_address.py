"""Where an engine finds its controller: at the address that once worked, else wherever a name of it leads today."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

NAMES = "names"
"""The key of a connection file under which the controller's names stand, beside the address that worked."""

_PATIENCE = 2.0  # s for a port to answer


def other(document: Mapping[str, Any], location: str) -> str:
    """Return the name at which the controller of a connection file answers, "" where ``location`` is to be used.

    Asked at each start: an engine that has lost its controller is started again, until one of them answers.
    """
    names = document.get(NAMES)
    if not isinstance(names, list) or _answers(location, document):
        return ""
    return next((name for name in names if isinstance(name, str) and _answers(name, document)), "")


def _answers(host: str, document: Mapping[str, Any]) -> bool:
    try:
        socket.create_connection((host, int(document["registration"])), _PATIENCE).close()
    except (OSError, UnicodeError):
        return False
    return True
