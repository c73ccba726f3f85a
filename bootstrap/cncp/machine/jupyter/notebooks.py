"""The example notebooks: copied once to where Jupyter opens, from then on the user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cncp.machine.actor import Actor
from cncp.machine.jupyter import service
from cncp.machine.manifest import Manifest
from cncp.machine.node import Node

FOLDER = "cncp-notebooks"
"""A name of its own, in the home: what the user keeps in another folder is not mixed with it."""


def folder(node: Node) -> Path:
    """Return where the copies are."""
    return Path(node.account.home) / FOLDER


def offer(node: Node, memory: Manifest, actor: Actor) -> list[str]:
    """Copy the notebooks where they never were, and note it; return the paths written."""
    place = folder(node)
    known = {path: digest for path, digest in memory.copies.items() if Path(path).parent == place}
    if not service.wanted(node) or (all(known.values()) and (known or place.exists())):
        return []
    sources = {
        place / path.name: path.read_bytes() for path in sorted((Path(node.source) / "notebooks").glob("*.ipynb"))
    }
    # Without a digest: being copied. A run that is cut off is taken up again by the next.
    memory.copies.update(dict.fromkeys(map(str, sources), ""))
    if sources and not place.is_dir():
        memory.made[str(place)] = ("login", "directory")
        memory.save(actor)
        actor.mkdir(place, 0o755)
    memory.save(actor)
    for path, content in sources.items():
        actor.write(path, content, 0o644)
    memory.copies.update({str(path): hashlib.sha256(content).hexdigest() for path, content in sources.items()})
    memory.save(actor)
    return [str(path) for path in sources]
