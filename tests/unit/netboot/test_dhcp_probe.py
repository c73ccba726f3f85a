"""What is asked of a network, and what is taken for an answer: of packets that are whole, cut, and of others."""

from __future__ import annotations

import struct

import pytest

from cncp.netboot.service.dhcp_probe import Offer, answer, question

CARD, NUMBER = bytes.fromhex("525400000001"), 0x01020304


def offer(number: int = NUMBER, server: bytes = b"\x0a\1\0\2", yours: bytes = b"\x0a\1\0\x63", kind: int = 2) -> bytes:
    """Return a frame of a server's."""
    head = struct.pack("!BBBBIHH4s4s4s4s16s192x", 2, 1, 6, 0, number, 0, 0, bytes(4), yours, bytes(4), bytes(4), CARD)
    body = head + b"\x63\x82\x53\x63" + bytes((53, 1, kind, 0, 54, 4)) + server + b"\xff"
    udp = struct.pack("!HHHH", 67, 68, 8 + len(body), 0) + body
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\1\0\3", b"\xff" * 4)
    return b"\xff" * 6 + CARD + b"\x08\0" + ip + udp


def test_an_answer() -> None:
    """It says which server, and whether that gives addresses."""
    assert answer(offer(), NUMBER) == Offer("10.1.0.2", gives_address=True)
    assert answer(offer(yours=bytes(4)), NUMBER) == Offer("10.1.0.2", gives_address=False)


def test_what_is_no_answer() -> None:
    """Another's, one to another question, an acknowledgement, and our own question."""
    assert answer(offer(number=5), NUMBER) is None
    assert answer(offer(kind=5), NUMBER) is None
    assert answer(question(CARD, NUMBER), NUMBER) is None


def test_a_frame_that_is_cut_anywhere() -> None:
    """It is no answer, or one without a server's own word, but never an error."""
    whole = offer()
    for length in range(14, len(whole)):
        assert answer(whole[:length], NUMBER) in (None, Offer("10.1.0.3", True), Offer("10.1.0.2", True))


@pytest.mark.parametrize("spoiled", range(14, 60))
def test_a_frame_with_any_byte_another(spoiled: int) -> None:
    """It may be another's answer, and is no error."""
    whole = bytearray(offer())
    whole[spoiled] ^= 0xFF
    found = answer(bytes(whole), NUMBER)
    assert found is None or found.server


def test_the_question_is_whole() -> None:
    """Its lengths and its checksum are as the standards have them, and it asks as firmware does."""
    frame = question(CARD, NUMBER)
    ip = frame[14:]
    assert sum(struct.unpack("!10H", ip[:20])) % 0xFFFF == 0
    assert struct.unpack("!H", ip[2:4]) == (len(ip),)
    assert struct.unpack("!H", ip[24:26]) == (len(ip) - 20,)
    assert b"PXEClient:Arch:00000" in ip
