"""How a node proves that a request is its own: by a key that it shares with cidd, and a serial that only rises."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cncp.errors import CncpError
from cncp.netboot import cidkid
from cncp.netboot.node_db import Key


class DeniedError(CncpError):
    """Who asks has not proved to be who may ask."""


class StaleError(DeniedError):
    """Who asks has the key, but has used ``serial``, which is as high or higher: its clock has fallen back.

    Or others repeat what it has said, to whom that number is worth nothing: they can sign no other.
    """

    def __init__(self, name: str, serial: int) -> None:
        super().__init__(f"{name} has used a higher serial", "sign it with one above that")
        self.serial = serial


@dataclass(frozen=True)
class Proof:
    """What comes with a request: see ``cidkid.signature``."""

    purpose: str
    serial: int
    signature: str
    method: str
    target: str
    body: bytes

    def hold(self, name: str, key: Key | None) -> bytes:
        """Return the secret of the key that a node has for this, once it holds. Raises DeniedError."""
        secret = key.secret if key else b""
        expected = cidkid.signature(secret, self.method, self.target, self.serial, self.body)
        if key is None or not hmac.compare_digest(expected.encode(), self.signature.encode()):
            raise DeniedError(f"no key of {name[:64]} holds for this", "")
        if self.serial <= key.serial:
            raise StaleError(name, key.serial)
        return secret
