"""The certificate of the controller's machine, which signs itself: who has a seed knows its fingerprint."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cncp.files import lock, read_bytes, write_atomic

_PATIENCE = 30.0  # s for another of us that makes it
_DAYS = 3650  # it ends with the rendezvous, and its fingerprint is all that is looked at


def path(folder: Path) -> Path:
    """Return the file with certificate and key."""
    return folder / "server.pem"


def ensure(folder: Path, name: str) -> str:
    """Return the fingerprint (SHA-256, hexadecimal) of the certificate in a folder, made where there is none."""
    with lock(folder / "server.lock", "a certificate", _PATIENCE):
        known = read_bytes(path(folder))
        if known is None:
            known = _made(name)
            write_atomic(path(folder), known, 0o600)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(_first(known))).hexdigest()


def _first(pem: bytes) -> str:
    text = pem.decode()
    end = "-----END CERTIFICATE-----"
    return text[: text.index(end) + len(end)]


def _made(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The clock of who looks at it may be a day off.
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
