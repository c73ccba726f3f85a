"""The connection files of a node: made from identity and settings, written where they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cncp.files import read_bytes, read_shape, to_json
from cncp.ipp import keys
from cncp.machine.actor import Actor
from cncp.machine.node import Node
from cncp.machine.resources import File, Resource
from cncp.shape import Misfit

_ENGINE = {"interface": str, "location": str, "registration": int, "key": str, "curve_serverkey": str | None}

CLIENT = "ipcontroller-client.json"
ENGINE = "ipcontroller-engine.json"


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
    if identity is None or not keys.fits(identity.ports, node.settings.ports):
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


def client(node: Node) -> dict[str, Any] | None:
    """Return the content of the client's connection file, None where there is none, or only a damaged one."""
    content = read_bytes(node.security_dir / CLIENT)
    try:
        return None if content is None else keys.client_document(content)
    except Misfit:
        return None


def local_address(node: Node) -> str | None:
    """Return the address at which a program on the controller's machine dials it."""
    return "127.0.0.1" if node.settings.listen in ("0.0.0.0", "127.0.0.1") else None


def dialled(node: Node) -> str:
    """Return the address at which programs on this machine reach the controller, for an error."""
    return _where(client(node), local_address(node))


def engine(node: Node) -> dict[str, Any] | None:
    """Return the content of the engines' connection file, None where there is none, or only a damaged one.

    The hub answers on it who is registered, and how much each has to do.
    """
    found: dict[str, Any] | None = read_shape(node.security_dir / ENGINE, _ENGINE)
    usable = found and 1 <= found["registration"] <= 65535 and found["interface"].startswith("tcp://")
    return found if usable else None


def engines_dial(node: Node) -> str:
    """Return the address at which this machine's engines look for their controller, for an error."""
    return _where(engine(node), None)


def _where(document: Mapping[str, Any] | None, host: str | None) -> str:
    if document is None:
        return "an address that no connection file says"
    bound = str(document["interface"]).partition("://")[2]
    named = host or (str(document["location"]) if bound in ("0.0.0.0", "*") else bound)
    return f"{named}:{document['registration']}"


def _undelivered(node: Node) -> list[tuple[Path, bytes]]:
    """Return the engine's connection file, where one was left for us that is not in its place yet."""
    content = read_bytes(delivered(Path(node.home)))
    path = node.security_dir / ENGINE
    return [] if content is None or read_bytes(path) == content else [(path, content)]


def _differing(node: Node, identity: keys.Identity) -> list[tuple[Path, bytes]]:
    wanted = keys.connection_files(
        identity,
        listen=node.settings.listen,
        location=node.location,
        encryption=node.settings.encryption,
    )
    paths = ((node.security_dir / name, to_json(content)) for name, content in wanted.items())
    return [(path, content) for path, content in paths if read_bytes(path) != content]


def resources(node: Node) -> tuple[Resource, ...]:
    """Return the secret files as resources without content, for the manifest alone."""
    if not node.controller:
        taken = delivered(Path(node.home)).exists()
        return (File(str(node.security_dir / ENGINE), keys.SECRET, "profile"),) if taken else ()
    paths = (node.identity, node.security_dir / CLIENT, node.security_dir / ENGINE)
    return tuple(File(str(path), keys.SECRET, "profile") for path in paths)
