"""Calling a verb of the agent on a host."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cncp.ssh import answers, bare_host
from cncp.ssh.answers import Shape
from cncp.ssh.command_line import SENT
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError

_SOURCE = inspect.getsource(bare_host)
SENT[_SOURCE] = bare_host.__file__


SHAPES: Mapping[str, Shape] = {
    "probe": answers.PROBE,
    "mark": answers.NOTHING,
    "marks": answers.MARKS,
    "unmark": answers.NOTHING,
    "receive": answers.NOTHING,
    "share": answers.NOTHING,
    "remove": answers.NOTHING,
    "dial": answers.OPEN,
    "host_keys": answers.HOST_KEYS,
}
"""What each verb of the agent answers."""

_ASKED = {"probe": (("code", ""), ("made_with", "")), "dial": (("open", []),)}
"""In the answers of these verbs, tables that have what was asked for and nothing else, and what it is otherwise."""


def call(host: Host, verb: str, *arguments: Any, data: bytes = b"", timeout: float = 60) -> dict[str, Any]:
    """Run a verb of the agent with a Python of that host. Raises HostError."""
    words = ["sh", "-c", bare_host.FIND, "sh", host.spec.python, _SOURCE, verb, json.dumps(arguments)]
    hint = f"install one there, or name it: python = ... in [pool.host.{json.dumps(host.spec.name)}]"
    found = answer(host, words, SHAPES[verb], ("there is no Python 3.10 or newer", hint), data, timeout)
    for table, otherwise in _ASKED.get(verb, ()):
        names = arguments[0] if verb == "dial" else arguments
        found[table] = {name: found[table].get(name, otherwise) for name in names}
    return found


def answer(
    host: Host, argv: Sequence[str], shape: Shape, no_python: tuple[str, str], data: bytes, timeout: float
) -> dict[str, Any]:
    """Run a program of ours on a host, which ends with one JSON object of this shape. Raises HostError.

    ``no_python`` is what to say, and the hint, where it exits with NO_PYTHON.
    """
    name = host.spec.name
    result = host.run(argv, input=data, timeout=timeout, check=False)
    if result.status == bare_host.NO_PYTHON:
        raise HostError(name, *no_python)
    if not result.ok:
        said = result.stderr.strip().splitlines() or [f"it exited with {result.status}"]
        raise HostError(name, said[-1], f"look at it by hand: ssh {name}")
    found: dict[str, Any] = answers.read(name, result.output, shape)
    return found
