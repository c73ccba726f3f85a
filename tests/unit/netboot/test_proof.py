"""What a node signs is held against its key, and said once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cncp.netboot import cidkid
from cncp.netboot.node_db import Key
from cncp.netboot.proof import DeniedError, Proof, StaleError

KEY = Key(b"secret", 6)
SIGNED = cidkid.signature(KEY.secret, "POST", "/v1/nodes/n1/report", 7, b"{}")
PROOF = Proof("compute-1-0", 7, SIGNED, "POST", "/v1/nodes/n1/report", b"{}")


def test_it_holds_once() -> None:
    """By the key, with a serial above the last; who has the key is told the last, so as to sign above it."""
    assert PROOF.hold("n1", KEY) == b"secret"
    for used in (7, 8):
        with pytest.raises(StaleError) as caught:
            PROOF.hold("n1", Key(b"secret", used))
        assert caught.value.serial == used


@pytest.mark.parametrize(
    "spoiled",
    [
        replace(PROOF, serial=8),
        replace(PROOF, body=b"[]"),
        replace(PROOF, method="GET"),
        replace(PROOF, target="/v1/nodes/n2/report"),
        replace(PROOF, signature=""),
        replace(PROOF, signature="ü"),
        replace(PROOF, signature=cidkid.signature(b"", "POST", PROOF.target, 7, b"{}")),
    ],
)
def test_it_is_not_that_nodes(spoiled: Proof) -> None:
    """Nor is it told what that has said, by however high a serial."""
    for key in (KEY, Key(b"secret", 9), None):
        with pytest.raises(DeniedError) as caught:
            spoiled.hold("n1", key)
        assert not isinstance(caught.value, StaleError)
