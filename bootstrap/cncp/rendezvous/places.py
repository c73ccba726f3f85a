"""The store at a URL: a folder that is shared, or an object store of a cloud."""

from __future__ import annotations

from collections.abc import Mapping

from cncp.rendezvous.store import Store
from cncp.rendezvous.stores.folder import FolderStore


def opened(url: str, options: Mapping[str, str]) -> Store:
    """Return the store at a URL; ``options`` are ``endpoint``, ``region`` and ``credentials``. Raises CncpError."""
    if url.startswith("file:"):
        return FolderStore.at(url)
    # Its library is not installed everywhere.
    from cncp.rendezvous.stores.objects import ObjectStore

    return ObjectStore.at(url, options)
