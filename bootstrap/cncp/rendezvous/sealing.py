"""Documents sealed and opened: ChaCha20-Poly1305 of the package cryptography, with one key a batch or generation."""

from __future__ import annotations

import base64
import os
from dataclasses import asdict, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cncp import records
from cncp.config import settings
from cncp.errors import UsageError
from cncp.files import to_json
from cncp.ipp.connection_file import MemberFile
from cncp.records import Misfit
from cncp.rendezvous.documents import (
    AGAIN,
    Body,
    Document,
    Kind,
    Refused,
    associated,
    check,
    damaged,
    read,
    secret,
)

_NONCE_BYTES = 12  # RFC 8439; random ones do, for a key that seals some thousands at most

SETTINGS = ("engines", "threads", "pin", "memory", "environment", "encryption", "heartbeat", "tolerance")
"""Settings of a cluster that those have who join it."""


def seal(body: Body, kind: Kind, name: str, key: str) -> bytes:
    """Return a document that only the key opens."""
    nonce = os.urandom(_NONCE_BYTES)
    bound = associated(body.cluster, kind, name, body.serial)
    sealed = ChaCha20Poly1305(secret(key)).encrypt(nonce, to_json(asdict(body)), bound)
    document = Document(
        body.cluster, kind, name, body.serial, base64.b64encode(nonce).decode(), base64.b64encode(sealed).decode()
    )
    return to_json(asdict(document))


def opened(
    content: bytes, kind: Kind, name: str, key: str, *, cluster: str, now: float, seen: int, ipyparallel: str
) -> Body:
    """Open a document and hold it against what is expected. Raises Refused, and nothing of it is used then.

    ``seen`` is the highest serial so far, ``ipyparallel`` the version that is here.
    """
    document = read(content, cluster=cluster, kind=kind, name=name)
    subject = f"the {kind} document"
    try:
        nonce = base64.b64decode(document.nonce, validate=True)
        sealed = base64.b64decode(document.sealed, validate=True)
        inside = ChaCha20Poly1305(secret(key)).decrypt(nonce, sealed, document.associated)
    except InvalidTag:
        raise Refused("key", f"the key does not open {subject}: it is not the one it was sealed with", AGAIN) from None
    except ValueError as error:
        raise damaged(subject, error) from None
    try:
        body = _whole(records.read(Body, inside, "it"), document)
    except (Misfit, UsageError) as error:
        raise damaged(subject, error) from None
    check(body, subject, now=now, seen=seen, ipyparallel=ipyparallel)
    return body


def _whole(body: Body, document: Document) -> Body:
    """Return a body with what engines read alone. Raises Misfit where it says what cannot be."""
    if (body.cluster, body.serial) != (document.cluster, document.serial):
        raise Misfit("it says another cluster or serial inside")
    secret(body.lease.key)
    settings.parse("profile", body.content.profile, "")
    engine = MemberFile.from_json(body.content.engine, "its connection file")
    if engine.fingerprint != body.content.fingerprint:
        raise Misfit("its keys are not those of its fingerprint")
    for name, value in body.content.settings.items():
        if name not in SETTINGS:
            raise Misfit(f"it says {name!r}, which is nothing to engines")
        settings.parse(name, value, "")
    return replace(body, content=replace(body.content, engine=engine.to_json()))
