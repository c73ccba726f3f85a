"""ssh keys of programs: made without a passphrase, which nobody could be asked for."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cncp.field_types import Checked
from cncp.process import run
from cncp.records import Odd, Reader

_BLOB_OF_ED25519 = 51
"""Bytes: two lengths of 4, the name of the kind, and the key's 32 (RFC 8709, section 4)."""


def is_public(text: str) -> bool:
    """Tell whether a text is a public key, kind and blob, in one line and nothing else (RFC 4253, section 6.6)."""
    found = re.fullmatch(r"([a-z][a-z0-9@.-]{2,63}) ([A-Za-z0-9+/]{16,4096}={0,2})", text)
    if found is None:
        return False
    try:
        blob = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return False
    return blob.startswith(len(found[1]).to_bytes(4, "big") + found[1].encode())


def is_public_ed25519(text: str) -> bool:
    """Tell whether a text is a public key of the one kind that ``make`` makes."""
    return is_public(text) and text.startswith("ssh-ed25519 ") and len(base64.b64decode(text[12:])) == _BLOB_OF_ED25519


@dataclass(frozen=True)
class _OfTunnel:
    """The kind and blob of a key, without its comment: nothing else is ever let in."""

    def __call__(self, value: Any, _: Reader) -> str:
        identity = " ".join(value.split()[:2]) if isinstance(value, str) and len(value.splitlines()) <= 1 else "none"
        if identity and not is_public_ed25519(identity):
            raise Odd("a public key of ed25519")
        return identity


PublicKey = Annotated[str, Checked(is_public, "a public key")]
"""That of an sshd."""

TunnelKey = Annotated[str, _OfTunnel()]
"""That which a host's tunnels log in with, "" without any."""


def make(path: Path, comment: str) -> None:
    """Make an ed25519 key pair beside and move it into place, the private one last. Raises CncpError."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".key-") as beside:
        made = Path(beside) / path.name
        # "-N" stands on the command line with the empty passphrase alone.
        run(["ssh-keygen", "-q", "-t", "ed25519", "-C", comment, "-N", "", "-f", made])
        made.with_suffix(".pub").replace(path.with_suffix(".pub"))
        made.replace(path)
