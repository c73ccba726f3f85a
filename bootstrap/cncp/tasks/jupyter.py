"""jupyter.*: JupyterLab beside the controller, and the way to it from where the browser is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.config.inventory import HostSpec
from cncp.console import Console
from cncp.errors import CncpError
from cncp.fleet import registry as places
from cncp.fleet import remote_jupyter as remote
from cncp.fleet.registry import Placed
from cncp.machine.jupyter import browser, service
from cncp.machine.jupyter.service import Access
from cncp.machine.node import Node, installed
from cncp.machine.ops import busy_engines
from cncp.tasks import scenes
from cncp.tasks.main_job import converge
from cncp.tasks.options import BUSY, QUIET
from cncp.tasks.task import command

_OPEN = {"no-browser": "print the address only, also where there is a display"}


def _node() -> Node:
    return installed(accounts.home(os.environ))


def _elsewhere() -> tuple[HostSpec, Placed | None] | None:
    """Return the controller's host and where it was set up, None where the controller is on this machine."""
    hosts = scenes.inventory(scenes.asked(None))
    if hosts.controller.local:
        return None
    return hosts.controller, places.load(accounts.home(os.environ)).get(hosts.controller.name)


def _access(node: Node) -> Access:
    if not node.controller:
        raise CncpError(
            "Jupyter runs beside the controller, which is on another machine",
            "there: cncp jupyter.up; then here: cncp jupyter.open --host HOST",
        )
    known = service.load(node) if service.wanted(node) else None
    if known is None:
        raise CncpError("Jupyter is switched off here", "switch it on: cncp jupyter.up")
    return known


@command({**QUIET, **BUSY})
def up(context: Context, quiet: bool = False, wait: int = 0, force: bool = False) -> None:
    """Run JupyterLab beside the controller from now on, and wait until it answers."""
    busy_engines.say(wait=wait, force=force)
    converge(Console(quiet=quiet), {"jupyter": "true"})


@command({**QUIET, **BUSY})
def down(context: Context, quiet: bool = False, wait: int = 0, force: bool = False) -> None:
    """Stop JupyterLab until the next `jupyter.up`; port, token and settings stay."""
    busy_engines.say(wait=wait, force=force)
    _node()
    converge(Console(quiet=quiet), {"jupyter": "false"})


@command({"json": "print port and token as JSON"})
def token(context: Context, json: bool = False) -> None:
    """Print the token that opens Jupyter: whoever has it runs code as you."""
    far = _elsewhere()
    known = remote.access(*far) if far else _access(_node())
    if json:
        Console().data({**known.to_json(), "url": known.url})
    else:
        Console().say(known.token)


@command(
    {**_OPEN, "host": "a machine with Jupyter, as ssh knows it: its port is brought here until Ctrl-C"}, name="open"
)
def visit(context: Context, host: str = "", no_browser: bool = False) -> None:
    """Print where Jupyter is, and open a browser where there is a display."""
    console = Console()
    if host:
        _visit(console, remote.host(host, scenes.inventory(scenes.asked(None))), None, no_browser)
        return
    if far := _elsewhere():
        _visit(console, *far, no_browser)
        return
    node = _node()
    known = _access(node)
    if not service.answers(node):
        raise CncpError("Jupyter does not answer", "look at: cncp status, cncp logs --name jupyter")
    _show(console, known, service.folder(node) / "open.html", no_browser, "cncp jupyter.token")


def _visit(console: Console, spec: HostSpec, placed: Placed | None, no_browser: bool) -> None:
    """Bring a host's Jupyter here until Ctrl-C."""
    known = remote.access(spec, placed)
    ask = "cncp jupyter.token" if placed else f"ssh {spec.name} .local/bin/cncp jupyter.token"
    with tempfile.TemporaryDirectory(prefix="cncp-") as scratch:
        page = Path(scratch) / "open.html"
        remote.visit(spec, known, lambda here: _show(console, here, page, no_browser, ask))


def _show(console: Console, access: Access, page: Path, no_browser: bool, ask: str) -> None:
    console.say(access.url)
    if no_browser or not browser.display() or not browser.show(access, page):
        console.note(f"the token it asks for: {ask}")


@command({**QUIET, **_OPEN, **BUSY}, default=True)
def lab(context: Context, quiet: bool = False, no_browser: bool = False, wait: int = 0, force: bool = False) -> None:
    """Run JupyterLab and open it: `jupyter.up`, then `jupyter.open`."""
    busy_engines.say(wait=wait, force=force)
    converge(Console(quiet=quiet), {"jupyter": "true"})
    visit.body(context, no_browser=no_browser)


__all__ = ["down", "lab", "token", "up", "visit"]
