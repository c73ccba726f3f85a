"""A store that is gone with its process, for tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from cncp.rendezvous.fetching import Answer
from cncp.rendezvous.store import Exists, check_key, insist_on_lifetime


class MemoryStore:
    """Objects in a dictionary. ``get_url`` answers as a server would, by the clock ``now``."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.objects: dict[str, bytes] = {}
        self._ends: dict[str, float] = {}
        self._now = now

    def put(self, key: str, content: bytes, lifetime: int = 0) -> None:
        """Write an object."""
        self.objects[check_key(key)] = content
        self._ends[key] = self._now() + lifetime if lifetime else math.inf

    def create(self, key: str, content: bytes) -> None:
        """Write an object that is not there yet."""
        if key in self.objects:
            raise Exists(f"{key} is there already", "use another key")
        self.put(key, content)

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        if self._now() > self._ends.get(check_key(key), math.inf):
            self.delete(key)
        return self.objects.get(key)

    def has(self, key: str) -> bool:
        """Tell whether an object is there."""
        return self.get(key) is not None

    def delete(self, key: str) -> None:
        """Take an object away."""
        self.objects.pop(check_key(key), None)

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin so."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    def url(self, key: str, lifetime: int) -> str:
        """Return where it can be fetched from for a while."""
        return f"https://memory.invalid/{check_key(key)}?expires={self._now() + insist_on_lifetime(lifetime):.0f}"

    def get_url(self, url: str, etag: str = "") -> Answer:
        """Return what a GET of a URL of ours answers."""
        key, _, until = url.removeprefix("https://memory.invalid/").partition("?expires=")
        if self._now() > float(until):
            return Answer("expired", "HTTP 403")
        body = self.get(key)
        if body is None:
            return Answer("not yet", "HTTP 404")
        found = str(hash(body))
        return Answer("unchanged") if found == etag else Answer("found", body=body, etag=found)
