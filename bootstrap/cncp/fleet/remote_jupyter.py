"""Jupyter on another machine: asked for over ssh, and brought to our loopback."""

from __future__ import annotations

from collections.abc import Callable

from cncp.config import selection
from cncp.config.inventory import HostSpec, Inventory
from cncp.errors import UsageError, plural, told
from cncp.fleet.registry import Placed
from cncp.machine.jupyter.service import Access
from cncp.ssh import answers, forward
from cncp.ssh.connection import Remote
from cncp.ssh.host_errors import HostError

_CNCP = ".local/bin/cncp"
"""The command that `cncp up` installed there, from the home that every login begins in."""


def host(text: str, listed: Inventory | None = None) -> HostSpec:
    """Read ``ada@gold1:2222``; a host of the cluster in use is reached as its file says. Raises UsageError."""
    found = selection.named(text, listed, "--host")
    if len(found) > 1:
        raise UsageError(f"--host: {text!r} is {plural(len(found), 'host')}", "name the one with Jupyter")
    return found[0]


def access(spec: HostSpec, placed: Placed | None = None) -> Access:
    """Ask a host for port and token of its Jupyter. Raises HostError.

    ``placed`` is where it was set up from here: in a home that several hosts share there is no command.
    """
    words = ("jupyter.token", "--json")
    with Remote(spec) as remote:
        answer = remote.run(placed.command(*words) if placed else [_CNCP, *words], check=False)
    if not answer.ok:
        raise _refusal(spec, answer.status, answer.stderr)
    return answers.read(spec.name, answer.output, Access)


def visit(spec: HostSpec, known: Access, show: Callable[[Access], None]) -> None:
    """Bring a host's Jupyter here, ``show`` it by its address here, and hold it until Ctrl-C."""
    here = forward.local_port(known.port)
    with forward.forwarded(spec, here, known.port) as process:
        show(Access(here, known.token))
        forward.hold(spec, process)


def _refusal(spec: HostSpec, status: int, said: str) -> HostError:
    if status == 127:
        return HostError(spec.name, f"there is no ~/{_CNCP}", "set it up there: bash ./baremetal.sh --jupyter=true")
    message, hint = told(said)
    return HostError(spec.name, message or f"cncp jupyter.token exited with {status}", f"there: {hint or 'cncp check'}")
