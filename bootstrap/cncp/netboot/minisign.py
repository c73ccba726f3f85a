"""Signatures as minisign makes and checks them, so that a node's initramfs needs nothing of ours to check one.

Format: https://jedisct1.github.io/minisign/ (Ed25519 of the file's BLAKE2b, the "prehashed" kind).
"""

from __future__ import annotations

import base64
import hashlib
import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cncp.errors import CncpError

_KEY, _PREHASHED = b"Ed", b"ED"
_ID_BYTES = 8
_TRUSTED = "trusted comment: "


class BadSignatureError(CncpError):
    """Something is not signed, or not with the key that counts."""


class SigningKey:
    """The private half: 8 bytes that name the key, then the 32 of Ed25519."""

    def __init__(self, content: bytes) -> None:
        """Take what ``content`` returned. Raises CncpError."""
        if len(content) != _ID_BYTES + 32:
            raise CncpError("the key that signs images is damaged", "make another, and the images' signatures with it")
        self.content = content
        self._id = content[:_ID_BYTES]
        self._key = Ed25519PrivateKey.from_private_bytes(content[_ID_BYTES:])

    @classmethod
    def made(cls) -> SigningKey:
        """Return a new one."""
        return cls(os.urandom(_ID_BYTES + 32))

    @property
    def public(self) -> str:
        """The public half in one line, as ``minisign -P`` takes it."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return base64.b64encode(_KEY + self._id + raw).decode()

    def sign(self, content: bytes, comment: str) -> bytes:
        """Return the signature file of a content; ``comment``, one line, is signed with it."""
        signed = self._key.sign(hashlib.blake2b(content).digest())
        whole = self._key.sign(signed + comment.encode())
        lines = (
            "untrusted comment: cncp",
            base64.b64encode(_PREHASHED + self._id + signed).decode(),
            _TRUSTED + comment,
            base64.b64encode(whole).decode(),
        )
        return "".join(f"{line}\n" for line in lines).encode()


def verify(public: str, content: bytes, signature: bytes) -> str:
    """Return the trusted comment of a signature file.

    Raises BadSignatureError where it is not of this content and key.
    """
    try:
        key = _decoded(public)
        _, first, comment, second, end = signature.decode().split("\n")
        before, trusted = comment[: len(_TRUSTED)], comment[len(_TRUSTED) :]
        signed, whole = _decoded(first), _decoded(second)
        if (signed[:2], before, end) != (_PREHASHED, _TRUSTED, ""):
            raise BadSignatureError("that is no signature of minisign", "")
        if signed[2:10] != key[2:10]:
            raise BadSignatureError("it is signed with another key", "")
        ours = Ed25519PublicKey.from_public_bytes(key[10:])
        ours.verify(signed[10:], hashlib.blake2b(content).digest())
        ours.verify(whole, signed[10:] + trusted.encode())
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError(f"its signature does not hold: {type(error).__name__}", "") from None
    return trusted


def _decoded(text: str) -> bytes:
    """Return what a text of base64 stands for. Raises ValueError, also for another spelling of the same."""
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise ValueError(text)
    return content
