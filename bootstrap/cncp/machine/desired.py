"""From node attributes to the desired state: pure, the same for both engines of convergence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.config.sources import SOURCE, STATIC
from cncp.files import to_json
from cncp.ipp import cluster_file
from cncp.machine.jupyter import service
from cncp.machine.node import NODE, Node, node_path
from cncp.machine.removal import COMMAND_MARK
from cncp.machine.resources import Block, Directory, File, Resource
from cncp.machine.services import manager_files
from cncp.machine.services.kinds import KINDS, split
from cncp.surroundings import PYTHON

_DATABASES = {"none": "NoDB", "memory": "DictDB", "sqlite": "SQLiteDB"}
_SERVE = SOURCE / "bootstrap" / "cncp" / "serve"
_RENDEZVOUS = _SERVE.with_name("rendezvous")
_PROFILE = ("ipcontroller_config.py", "ipengine_config.py", "ipcluster_config.py")


RENDEZVOUS = "rendezvous"
"""The kind of the service by which machines join, or have joined."""


@dataclass(frozen=True)
class Desired:
    """What the machine is to hold, and for every service the digest of all it depends on.

    A running service carries the digest it was started with on its command line; where the two
    differ it is to be restarted, whoever wrote the files and whenever.
    """

    resources: tuple[Resource, ...]
    services: Mapping[str, str]


def desired(node: Node, *, environment: str, identity: str, access: str = "") -> Desired:
    """Return the desired state.

    ``environment`` is a digest of the virtualenv's content, ``identity`` one of keys and ports,
    ``access`` one of what Jupyter has of its own.
    """
    # A machine that runs nothing is in charge of others, and needs no more than the command.
    if not node.services:
        return Desired(tuple(_home(node)), {})
    profile = tuple(_profile(node))
    services = {name: _digest(node, split(name)[0], environment, identity, access) for name in node.services}
    units = manager_files(node, services)
    return Desired((*_home(node), *profile, *service.resources(node), *units), services)


def service_home(node: Node) -> Iterator[Resource]:
    """Yield what services need in a home that is there, whatever keeps them."""
    home = Path(node.home)
    yield Directory(str(node.run_dir), 0o700, "home")
    yield Directory(str(home / "libexec"), 0o755, "home")
    for name in ("record-exit", "keep"):
        yield File(str(home / "libexec" / name), 0o755, "home", source=f"libexec/{name}")
    yield File(str(node_path(home)), 0o600, "home", content=NODE.content(node).decode())


def _home(node: Node) -> Iterator[Resource]:
    home = Path(node.home)
    yield Directory(str(home), 0o700, "home")
    yield from service_home(node)
    if not node.instance:
        # In a home that several hosts share it could serve only one of them.
        yield File(str(Path(node.account.home) / ".local" / "bin" / "cncp"), 0o755, "home", content=_command(node))


def _command(node: Node) -> str:
    def quote(text: str) -> str:
        return "'" + text.replace("'", "'\\''") + "'"

    return (
        "#!/bin/sh\n"
        f"{COMMAND_MARK}: its commands, with the virtualenv's Python.\n"
        f"code={quote(node.source)}\n"
        'if [ ! -f "$code/bootstrap/cncp/__main__.py" ]; then\n'
        '    echo "error: the code of this cluster is gone from $code" >&2\n'
        '    echo "hint: run baremetal.sh from wherever you have it: it brings the code back, then cncp works" >&2\n'
        "    exit 1\n"
        "fi\n"
        f"CNCP_HOME={quote(node.home)}\n"
        "export CNCP_HOME\n"
        # Root becomes the account first. An image is made by root alone, with its own right to do so.
        f'if [ "$(id -u)" -ne {node.account.uid} ] && [ "${{1-}}" != vm.box ]; then\n'
        f"    CNCP_USER={quote(node.account.name)}\n"
        "    export CNCP_USER\n"
        '    exec bash "$code/baremetal.sh" cncp "$@"\n'
        "fi\n"
        f"python={quote(str(node.python))}\n"
        # Before this file Python does next to nothing in which a Ctrl-C could end in a traceback.
        'if [ -x "$python" ]; then\n'
        f'    exec "$python" {" ".join(PYTHON)} -S "$code/bootstrap/cncp/__main__.py" "$@"\n'
        "fi\n"
        # Without it the rest can still be undone, by any Python that is new enough.
        "for other in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do\n"
        '    [ "${1-}" = uninstall ] || break\n'
        "    if \"$other\" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then\n"
        f'        exec "$other" {" ".join(PYTHON)} "$code/bootstrap/uninstall.py" "$@"\n'
        "    fi\n"
        "done\n"
        'echo "error: the Python of this cluster is gone: $python" >&2\n'
        'echo "hint: bash $code/baremetal.sh makes it again; cncp uninstall takes all of it away" >&2\n'
        "exit 1\n"
    )


def _profile(node: Node) -> Iterator[Resource]:
    directory = Path(node.profile_dir)
    yield Directory(str(directory), 0o755, "profile")
    for name in ("log", "pid", "security", "startup"):
        yield Directory(str(directory / name), 0o700, "profile")
    yield File(str(directory / "cncp.json"), 0o644, "profile", content=to_json(_profile_settings(node)).decode())
    if node.controller:
        # ipyparallel's own programs find the cluster by it: Cluster.from_file, ipcluster, the lab's extension.
        here = {"class": "cncp.remote.Running", "cluster_id": "", "profile_dir": node.profile_dir}
        found = to_json({"cluster": here, "home": node.home}).decode()
        yield File(str(directory / "security" / cluster_file.NAME), 0o600, "profile", content=found)
    for name in _PROFILE:
        yield Block(str(directory / name), "profile", source=f"profile/{name}")


def _profile_settings(node: Node) -> dict[str, object]:
    settings = node.settings
    tolerance = settings.tolerance * 1000
    return {
        "database": settings.database,
        "db_class": _DATABASES[settings.database],
        "encryption": settings.encryption,
        "engines": node.engines,
        # An engine checks once in a period and half a second more (IPEngine.start_heartbeat).
        "engine_misses": max(2, tolerance // (settings.heartbeat + 500)),
        "heartbeat": settings.heartbeat,
        "heartmonitor_misses": tolerance // settings.heartbeat,
        "tolerance": settings.tolerance,
    }


def _digest(node: Node, kind: str, environment: str, identity: str, access: str) -> str:
    """Digest what a service of a kind depends on: a change of it is a reason to restart."""
    settings = node.settings
    parts: list[object] = [
        environment,
        _identity(node, kind, identity, access),
        node.source,
        node.profile_dir,
        node.manager,
        node.scope,
        settings.logs,
        settings.log_size,
        settings.log_keep,
        # The code of other kinds is nothing to it.
        [path.read_text() for path in sorted(_SERVE.glob("*.py")) if path.stem == kind or path.stem not in KINDS],
        (STATIC / "libexec" / "keep").read_text(),
    ]
    if kind == service.NAME:
        parts.append([resource.text() for resource in service.resources(node) if isinstance(resource, File)])
        return _short(parts)
    if kind == RENDEZVOUS:
        parts.append([node.rendezvous, settings.listen, node.location])
        parts.append([path.read_text() for path in sorted(_RENDEZVOUS.rglob("*.py"))])
        return _short(parts)
    if kind == "tunnel":
        # Each reads the way to its host anew: one more host is nothing to the others.
        parts.append(sorted({(tunnel.bound, tunnel.ports, tunnel.reverse) for tunnel in node.tunnels}))
        return _short(parts)
    content = _profile_settings(node)
    if kind == "controller":
        # The number of engines is nothing to the controller: scaling must not restart it.
        del content["engines"]
        parts += [content, settings.listen, node.location]
    else:
        # An engine reads only at its start where the controller is; elsewhere that is in what identifies it.
        parts += [node.local_address or settings.listen] if node.controller else []
        parts += [
            content["engine_misses"],
            node.threads,
            settings.pin,
            list(node.gpus),
            settings.memory,
            settings.encryption,
            settings.environment,
        ]
    parts.append((STATIC / "profile" / f"ip{kind}_config.py").read_text())
    return _short(parts)


def _identity(node: Node, kind: str, identity: str, access: str) -> str:
    """Return what of the keys a kind of service is restarted for."""
    if kind == service.NAME:
        return access
    # New keys come by the rendezvous itself, which has engines read them without root.
    return "" if kind == RENDEZVOUS or (kind == "engine" and node.rendezvous == "member") else identity


def _short(parts: list[object]) -> str:
    return hashlib.sha256(to_json(parts)).hexdigest()[:16]
