"""The connection files of a node: made from identity and settings, written where they differ."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from cncp.files import read_bytes, read_record, to_json
from cncp.ipp import keys
from cncp.ipp.connection_file import CLIENT, ENGINE, ClientFile, ConnectionFile, EngineFile
from cncp.machine.node import Node
from cncp.machine.resources import File, Resource

if TYPE_CHECKING:
    from cncp.machine.actor import Actor


def delivered(home: Path) -> Path:
    """Return where the engine's connection file of a controller elsewhere is left for `cncp up`."""
    return home / ENGINE


def _source(node: Node) -> Path:
    """Return the file that keys and ports come from, on a machine of engines their connection file."""
    if node.controller:
        return node.identity
    left = delivered(Path(node.home))
    return left if left.exists() else node.security_dir / ENGINE


def digest(node: Node) -> str:
    """Digest keys and ports, so that services restart when either changed. No key follows from it."""
    path = _source(node)
    return hashlib.sha256(b"cncp identity " + (read_bytes(path) or b"")).hexdigest()[:16]


def outdated(node: Node) -> list[str]:
    """Return what ``write`` would change, in words without secrets. Changes nothing."""
    if not node.controller:
        return [f"write {path} (content not shown)" for path, _ in _undelivered(node)]
    identity = keys.load(node.identity)
    if identity is None or not keys.fits(identity.ports.all, node.settings.ports):
        return [f"make {node.identity} (keys and ports; content not shown)"]
    return [f"write {path} (content not shown)" for path, _ in _differing(node, identity)]


def write(node: Node, actor: Actor) -> list[str]:
    """Make identity and connection files where they are missing or differ; return their paths."""
    if not node.controller:
        taken = _undelivered(node)
        for path, content in taken:
            actor.write(path, content, keys.SECRET)
        return [str(path) for path, _ in taken]
    before = read_bytes(node.identity)
    identity = keys.ensure(node.identity, node.settings.ports)
    written = [str(node.identity)] if read_bytes(node.identity) != before else []
    for path, content in _differing(node, identity):
        actor.write(path, content, keys.SECRET)
        written.append(str(path))
    for path in (node.identity, node.security_dir / CLIENT, node.security_dir / ENGINE):
        if path.stat().st_mode & 0o7777 != keys.SECRET:
            actor.chmod(path, keys.SECRET)
            written.append(str(path))
    return written


def client(node: Node) -> ClientFile | None:
    """Return the client's connection file, None where there is none, or only a damaged one."""
    return read_record(node.security_dir / CLIENT, ClientFile)


def dialled(node: Node) -> str:
    """Return the address at which programs on this machine reach the controller, for an error."""
    return _where(client(node), node.local_address)


def engine(node: Node) -> EngineFile | None:
    """Return the engines' connection file, None where there is none, or only a damaged one.

    The hub answers on it who is registered, and how much each has to do.
    """
    return read_record(node.security_dir / ENGINE, EngineFile)


def engines_dial(node: Node) -> str:
    """Return the address at which this machine's engines look for their controller, for an error."""
    return _where(engine(node), None)


def _where(document: ConnectionFile | None, host: str | None) -> str:
    if document is None:
        return "an address that no connection file says"
    return f"{host or document.dialled}:{document.registration}"


def _undelivered(node: Node) -> list[tuple[Path, bytes]]:
    """Return the engine's connection file, where one was left for us that is not in its place yet."""
    content = read_bytes(delivered(Path(node.home)))
    path = node.security_dir / ENGINE
    return [] if content is None or read_bytes(path) == content else [(path, content)]


def _differing(node: Node, identity: keys.Identity) -> list[tuple[Path, bytes]]:
    client, engine = keys.connection_files(
        identity,
        listen=node.settings.listen,
        location=node.location,
        encryption=node.settings.encryption,
    )
    wanted = {node.security_dir / CLIENT: to_json(client), node.security_dir / ENGINE: to_json(engine)}
    return [(path, content) for path, content in wanted.items() if read_bytes(path) != content]


def resources(node: Node) -> tuple[Resource, ...]:
    """Return the secret files as resources without content, for the manifest alone."""
    if not node.controller:
        taken = delivered(Path(node.home)).exists()
        return (File(str(node.security_dir / ENGINE), keys.SECRET, "profile"),) if taken else ()
    paths = (node.identity, node.security_dir / CLIENT, node.security_dir / ENGINE)
    return tuple(File(str(path), keys.SECRET, "profile") for path in paths)
