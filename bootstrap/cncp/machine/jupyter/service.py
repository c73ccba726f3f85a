"""Jupyter on the controller's machine: where it is, what opens it, and whether it answers.

Its port and token are made once, before its first start, and pinned: a page that was open, and a
tunnel, go on after a restart. The token lets its holder run code, so it is in no place but its file.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cncp import pidfile, ports
from cncp.errors import CncpError
from cncp.field_types import Matching, Port
from cncp.files import read_bytes, to_json
from cncp.install.stamp import STAMP
from cncp.ipp import keys
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.resources import Directory, File, Resource
from cncp.machine.services import processes
from cncp.machine.services.kinds import KINDS
from cncp.machine.services.startup import Patience
from cncp.records import Record
from cncp.state_files import StateFile
from cncp.surroundings import PYTHON

NAME = "jupyter"
ADDRESS = "127.0.0.1"

assert NAME in KINDS  # noqa: S101  # the service and its kind are one


@dataclass(frozen=True)
class Access(Record):
    """What opens Jupyter: a port on loopback and a token."""

    port: Port
    token: Annotated[str, Matching(r"[A-Za-z0-9_-]{1,255}", "a token")]

    @property
    def url(self) -> str:
        """The address for a browser on this machine; without the token."""
        return f"http://{ADDRESS}:{self.port}/lab"


ACCESS = StateFile("access.json", Access, "cncp up makes another token")


def wanted(node: Node) -> bool:
    """Tell whether this machine is to run Jupyter."""
    return NAME in node.services


def folder(node: Node) -> Path:
    """Return the folder of all that Jupyter keeps: it goes with an uninstall."""
    return Path(node.home) / "jupyter"


def access_path(node: Node) -> Path:
    """Return the file that holds port and token."""
    return ACCESS.path(folder(node))


def load(node: Node) -> Access | None:
    """Read port and token; None where there are none or the file is damaged."""
    return ACCESS.intact(folder(node))


def outdated(node: Node) -> list[str]:
    """Return what ``write`` would change, in words without secrets. Changes nothing."""
    if not wanted(node) or (load(node) is not None and _mode(node) == keys.SECRET):
        return []
    return [f"write {access_path(node)} (content not shown)"]


def write(node: Node, actor: Actor) -> list[str]:
    """Make port and token where there are none; return what was changed. The folder is there."""
    if not outdated(node):
        return []
    made = load(node) or Access(_free_port(node), secrets.token_hex(24))
    ACCESS.save(folder(node), made, actor.write)
    return [str(access_path(node))]


def digest(node: Node) -> str:
    """Digest what Jupyter alone depends on: port and token, and its packages. No secret follows from it."""
    stamp = STAMP.intact(Path(node.home))
    content = [(read_bytes(access_path(node)) or b"").decode(errors="replace"), stamp.jupyter if stamp else ""]
    return hashlib.sha256(b"cncp jupyter " + to_json(content)).hexdigest()[:16]


def check(node: Node, running: set[str]) -> None:
    """Raise CncpError when the port is taken although our Jupyter does not run."""
    known = load(node)
    if not wanted(node) or NAME in running or known is None or ports.is_free(known.port):
        return
    raise CncpError(
        f"Jupyter's port {known.port} is taken",
        f"end what listens there, or have port and token made anew: rm {access_path(node)}",
    )


def insist(node: Node) -> None:
    """Raise CncpError where our Jupyter could not have its port. Changes nothing."""
    known = load(node)
    if wanted(node) and known is not None and not ports.is_free(known.port):
        check(node, {service.name for service in processes.ours(node).services})


def resources(node: Node) -> Iterator[Resource]:
    """Yield what Jupyter is to find: its folder, its page's settings, and its kernel."""
    if not wanted(node):
        return
    share = folder(node) / "share"
    kernel = {
        # Its history goes where the cluster's files are, and not into a profile_default made for it.
        "argv": [
            *(str(node.python), *PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            *("--profile-dir", node.profile_dir),
        ],
        "display_name": f"Python 3 ({node.prefix})",
        "language": "python",
        "metadata": {"debugger": True, "supported_encryption": ["curve"]},
    }
    # News and newer versions would be asked for, of the network and of the user.
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    page = folder(node) / "config" / "labconfig" / "page_config.json"
    yield Directory(str(folder(node)), 0o700, "home")
    yield File(str(page), 0o644, NAME, content=to_json(quiet).decode())
    yield Directory(str(share / "kernels" / "python3"), 0o755, NAME)
    yield File(str(share / "kernels" / "python3" / "kernel.json"), 0o644, NAME, content=to_json(kernel).decode())


def answers(node: Node) -> bool:
    """Tell whether our Jupyter serves: its own process listens on the port, and speaks HTTP there."""
    known = load(node)
    process = pidfile.read(node.run_dir, NAME)
    if known is None or not process.pid or known.port not in ports.listening([process.pid]):
        return False
    # Not at the top: clusters without Jupyter ask nothing by HTTP.
    from http.client import OK, HTTPConnection, HTTPException

    connection = HTTPConnection(ADDRESS, known.port, timeout=2)
    with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
        connection.request("GET", "/api")
        return connection.getresponse().status == OK
    return False


def wait(node: Node, patience: Patience) -> None:
    """Wait until Jupyter answers. Raises CncpError."""
    if patience.until(lambda: [] if answers(node) else [NAME]):
        message = f"Jupyter did not answer within {patience.spent}{patience.ending(NAME)}"
        raise CncpError(message, "look at: cncp status, cncp logs --name jupyter")


def _mode(node: Node) -> int:
    return access_path(node).stat().st_mode & 0o7777


def _free_port(node: Node) -> int:
    """Return a free port that is none of the controller's, which may be down."""
    identity = keys.load(node.identity)
    return ports.free_block(1, identity.ports.all if identity else ())[0]
