"""The uuids of our engines: HOST.NUMBER.RANDOM, so that a restarted engine is known as the same."""

from __future__ import annotations

import re
import secrets


def new_uuid(host: str, number: int) -> str:
    """Return a fresh uuid for an engine of this host and number."""
    # ZeroMQ identities are at most 255 bytes; a host name has at most 64 on Linux.
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', host)}.{number}.{secrets.token_hex(6)}"


def slot(uuid: str) -> tuple[str, int] | None:
    """Return (host, number) of one of our engines, None for an engine that others started."""
    match = re.fullmatch(r"([A-Za-z0-9-]+)\.(\d+)\.[0-9a-f]{12}", uuid)
    return (match[1], int(match[2])) if match else None
