"""Calling a verb of the agent on a host."""

from __future__ import annotations

import inspect
import json
from typing import Any

from cncp.fleet import agent
from cncp.fleet.command import HostError
from cncp.fleet.ssh import Host

_SOURCE = inspect.getsource(agent)


def call(host: Host, verb: str, *arguments: Any, data: bytes = b"", timeout: float = 60) -> dict[str, Any]:
    """Run a verb of the agent with a Python of that host. Raises HostError."""
    words = ["sh", "-c", agent.FIND, "sh", host.spec.python, _SOURCE, verb, json.dumps(arguments)]
    result = host.run(words, input=data, timeout=timeout, check=False)
    name = host.spec.name
    if result.status == agent.NO_PYTHON:
        raise HostError(
            name,
            "there is no Python 3.10 or newer",
            f"install one there, or name it: python = ... in [pool.host.{json.dumps(name)}]",
        )
    if not result.ok:
        said = result.stderr.strip().splitlines()
        raise HostError(
            name, said[-1] if said else f"{verb} exited with {result.status}", f"look at it by hand: ssh {name}"
        )
    try:
        # Whatever a login file of that account prints comes before.
        return dict(json.loads(result.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        raise HostError(name, "its answer is not readable", f"look at what it prints: ssh {name} true") from None
