"""A store that the controller's machine serves itself: a folder behind signed URLs and a pinned certificate.

The server is `cncp.rendezvous.website`. What it gives away is sealed; a URL's signature keeps strangers from asking
for it, and its time from being asked for later, as an object store's does.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cncp.rendezvous import certificate
from cncp.rendezvous.store import check_key, insist_on_lifetime
from cncp.rendezvous.stores.folder import FolderStore


class ServedStore(FolderStore):
    """Objects below ``folder``, at ``https://ADDRESS:PORT/KEY``."""

    def __init__(self, folder: Path, address: str, port: int, key: str, now: Callable[[], float] = time.time) -> None:
        self._served = folder / "objects"
        self._served.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(self._served)
        self._pin = certificate.ensure(folder, "cncp rendezvous")
        self._root = f"https://{address}:{port}/"
        self._key = hashlib.sha256(f"cncp urls {key}".encode()).digest()
        self._now = now

    def url(self, key: str, lifetime: int) -> str:
        """Return where it can be fetched from for a while, by who knows our certificate by the fragment."""
        until = int(self._now()) + insist_on_lifetime(lifetime)
        signed = self._signature(check_key(key), until)
        return f"{self._root}{key}?expires={until}&signature={signed}#sha256={self._pin}"

    def answer(self, target: str) -> tuple[int, str, bytes]:
        """Return status, text and content for the target of a GET; what is wrong is said as S3 says it."""
        parts = urlsplit(target)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        until = asked.get("expires", "")
        try:
            key = check_key(parts.path.removeprefix("/"))
        except ValueError:
            return 403, _error("AccessDenied", "Access Denied"), b""
        if not (until.isascii() and until.isdigit() and len(until) < 12):
            return 403, _error("AccessDenied", "Access Denied"), b""
        if not hmac.compare_digest(asked.get("signature", "").encode(), self._signature(key, int(until)).encode()):
            return 403, _error("SignatureDoesNotMatch", "the URL was changed"), b""
        if self._now() > int(until):
            return 403, _error("AccessDenied", "Request has expired"), b""
        content = self.get(key)
        return (404, _error("NoSuchKey", "not there"), b"") if content is None else (200, "", content)

    def _signature(self, key: str, until: int) -> str:
        return hmac.new(self._key, f"{key}\n{until}".encode(), hashlib.sha256).hexdigest()[:32]


def _error(code: str, message: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
