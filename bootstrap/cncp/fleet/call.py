"""Calling a verb of the agent on a host."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

from cncp.fleet import agent
from cncp.fleet.command import HostError
from cncp.fleet.ssh import Host

_SOURCE = inspect.getsource(agent)


def call(host: Host, verb: str, *arguments: Any, data: bytes = b"", timeout: float = 60) -> dict[str, Any]:
    """Run a verb of the agent with a Python of that host. Raises HostError."""
    words = ["sh", "-c", agent.FIND, "sh", host.spec.python, _SOURCE, verb, json.dumps(arguments)]
    hint = f"install one there, or name it: python = ... in [pool.host.{json.dumps(host.spec.name)}]"
    return answer(host, words, ("there is no Python 3.10 or newer", hint), data, timeout)


def answer(host: Host, argv: Sequence[str], no_python: tuple[str, str], data: bytes, timeout: float) -> dict[str, Any]:
    """Run a program of ours on a host, which ends with one JSON object. Raises HostError.

    ``no_python`` is what to say, and the hint, where it exits with NO_PYTHON.
    """
    name = host.spec.name
    result = host.run(argv, input=data, timeout=timeout, check=False)
    if result.status == agent.NO_PYTHON:
        raise HostError(name, *no_python)
    if not result.ok:
        said = result.stderr.strip().splitlines() or [f"it exited with {result.status}"]
        raise HostError(name, said[-1], f"look at it by hand: ssh {name}")
    try:
        return dict(json.loads(result.stdout))
    except ValueError:
        raise HostError(name, "its answer is not readable", f"look at what it prints: ssh {name} true") from None
