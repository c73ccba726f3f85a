"""The store at a URL: a folder that is shared, or an object store of a cloud."""

from __future__ import annotations

from collections.abc import Mapping

from cncp.rendezvous.store import Store
from cncp.rendezvous.stores.folder import FolderStore


def opened(url: str, options: Mapping[str, str]) -> Store:
    """Return the store at a URL; ``options`` are those of the table ``[rendezvous]``. Raises CncpError."""
    if url.startswith("file:"):
        return FolderStore.at(url)
    # Their libraries are not installed everywhere.
    if url.startswith("swift:"):
        from cncp.rendezvous.stores.swift import SwiftStore

        return SwiftStore.at(url, options)
    from cncp.rendezvous.stores.objects import ObjectStore

    return ObjectStore.at(url, options)
