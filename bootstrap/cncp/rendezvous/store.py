"""What every store of documents offers, whatever place it is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from cncp.errors import CncpError

ROOT = "cncp/v1"
"""What is ours in a place that others use as well."""

MOST_SIGNED = 7 * 86400
"""Seconds that a signed URL may be good for: Signature Version 4 of S3."""


class Exists(CncpError):
    """There is such an object already."""


class StoreError(CncpError):
    """The store refuses, or is not there."""


class Store(Protocol):
    """Small objects by their keys; a key is lower-case words between slashes."""

    def put(self, key: str, content: bytes, lifetime: int = 0) -> None:
        """Write an object, over the one that is there. Raises StoreError.

        A store that can takes it away by itself after ``lifetime`` s; 0 is never.
        """

    def create(self, key: str, content: bytes) -> None:
        """Write an object that is not there yet. Raises Exists, StoreError."""

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none. Raises StoreError."""

    def has(self, key: str) -> bool:
        """Tell whether an object is there; lists may lag behind. Raises StoreError."""

    def delete(self, key: str) -> None:
        """Take an object away, also one that is gone. Raises StoreError."""

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin so, in order. Raises StoreError."""

    def url(self, key: str, lifetime: int) -> str:
        """Return where whoever has it can GET an object for ``lifetime`` s. Raises StoreError."""


def check_key(key: str) -> str:
    """Return a key that can be one in all stores. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*/?", key):
        raise ValueError(f"{key!r} is no key")
    return key


def insist_on_lifetime(lifetime: int) -> int:
    """Return a lifetime that every store can sign. Raises ValueError."""
    if not 1 <= lifetime <= MOST_SIGNED:
        raise ValueError(f"a URL cannot be good for {lifetime} s")
    return lifetime
