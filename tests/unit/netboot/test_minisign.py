"""Signatures are minisign's own, where that is there to say so; nothing else passes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.minisign import BadSignatureError, SigningKey, verify


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """Return a key."""
    return SigningKey.made()


def test_what_is_signed_is_verified(key: SigningKey) -> None:
    """The comment comes with it; a key that was written is the same one."""
    signature = SigningKey(key.content).sign(b"content", "compute-1-0")
    assert verify(key.public, b"content", signature) == "compute-1-0"


def test_a_flipped_bit_anywhere(key: SigningKey) -> None:
    """Of the content, or of the signature, but for its first line, which is for people."""
    content, signature = b"content", key.sign(b"content", "compute-1-0")
    with pytest.raises(BadSignatureError):
        verify(key.public, b"contenu", signature)
    begin = signature.index(b"\n") + 1
    for place in range(begin, len(signature)):
        flipped = signature[:place] + bytes([signature[place] ^ 1]) + signature[place + 1 :]
        with pytest.raises(BadSignatureError):
            verify(key.public, content, flipped)


@pytest.mark.parametrize("signature", [b"", b"\n\n\n\n", b"a\nb\nc\nd\n", b"\xff\xfe", b"x\n" * 5])
def test_no_signature(key: SigningKey, signature: bytes) -> None:
    """Whatever it is, it is an error of ours."""
    with pytest.raises(BadSignatureError):
        verify(key.public, b"content", signature)


def test_another_key(key: SigningKey) -> None:
    """It is said to be another."""
    with pytest.raises(BadSignatureError, match="another key"):
        verify(SigningKey.made().public, b"content", key.sign(b"content", "compute-1-0"))


def test_a_damaged_key() -> None:
    """It is no key."""
    with pytest.raises(CncpError, match="damaged"):
        SigningKey(b"short")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
def test_minisign_says_the_same(key: SigningKey, tmp_path: Path) -> None:
    """It takes ours, and not what was changed."""
    file = tmp_path / "manifest.json"
    file.write_bytes(b"content")
    (tmp_path / "manifest.json.minisig").write_bytes(key.sign(b"content", "compute-1-0"))
    argv = ["minisign", "-V", "-P", key.public, "-m", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "compute-1-0" in done.stdout
    file.write_bytes(b"contenu")
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0
