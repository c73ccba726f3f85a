"""Which servers answer a machine that boots from a network: asked once, as such a machine would.

Facts: RFC 2131 and 2132 (DHCP), RFC 4578 (what firmware adds), packet(7).
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_COOKIE = b"\x63\x82\x53\x63"
_TYPE, _SERVER, _CLASS, _WANTED, _ARCHITECTURE, _UNDI, _END = 53, 54, 60, 55, 93, 94, 255
_DISCOVER, _OFFER = 1, 2
_IPV4, _UDP = 0x0800, 17
_AGAIN = 2.0  # s until it is asked again
_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_FIRMWARE = {
    _CLASS: b"PXEClient:Arch:00000:UNDI:002001",
    _ARCHITECTURE: bytes(2),
    _UNDI: bytes((1, 2, 1)),
    _WANTED: bytes((1, 3, 43, 54, 60, 66, 67)),
}


@dataclass(frozen=True)
class Offer:
    """An answer: from which server, and whether it gives an address or says only what to boot."""

    server: str
    gives_address: bool


def offers(interface: str, seconds: float = 5.0) -> set[Offer]:
    """Return what is answered on an interface within so many s. Raises OSError where it is not up.

    dnsmasq first looks for 3 s whether the address that it would give is in use; others take 1 s for that.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4)) as line:
        line.bind((interface, _IPV4))
        number = secrets.randbits(32)
        card = line.getsockname()[4]
        deadline, found = time.monotonic() + seconds, set[Offer]()
        again = 0.0
        while (left := deadline - time.monotonic()) > 0:
            if time.monotonic() >= again:
                # As firmware does: a switch may lose the first while it looks whether there is a loop.
                line.send(question(card, number))
                again = time.monotonic() + _AGAIN
            line.settimeout(min(left, _AGAIN))
            with contextlib.suppress(TimeoutError):
                offer = answer(line.recv(2048), number)
                found |= {offer} if offer else set()
        return found


def question(card: bytes, number: int) -> bytes:
    """Return the frame by which a card asks for a server."""
    options = {_TYPE: bytes((_DISCOVER,)), **_FIRMWARE}
    # Answers are to be broadcast (flags): this is not the address they would be sent to.
    head = _BOOTP.pack(1, 1, 6, 0, number, 0, 0x8000, bytes(4), bytes(4), bytes(4), bytes(4), card, b"", b"")
    body = head + _COOKIE + b"".join(bytes((name, len(value))) + value for name, value in options.items())
    udp = struct.pack("!HHHH", 68, 67, 8 + len(body) + 1, 0) + body + bytes((_END,))
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, _UDP, 0, bytes(4), b"\xff" * 4)
    ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
    return b"\xff" * 6 + card + struct.pack("!H", _IPV4) + ip + udp


def answer(frame: bytes, number: int) -> Offer | None:
    """Return the offer that a frame is of this question; None where it is anything else."""
    ip = frame[14:]
    if len(ip) < 20 or ip[9] != _UDP:
        return None
    udp = ip[4 * (ip[0] & 15) :]
    body = udp[8:]
    if len(body) < _BOOTP.size + 4 or udp[2:4] != struct.pack("!H", 68) or body[_BOOTP.size :][:4] != _COOKIE:
        return None
    fields = _BOOTP.unpack(body[: _BOOTP.size])
    options = _options(body[_BOOTP.size + 4 :])
    if fields[0] != 2 or fields[4] != number or options.get(_TYPE) != bytes((_OFFER,)):
        return None
    server = options.get(_SERVER, b"")
    return Offer(socket.inet_ntoa(server if len(server) == 4 else ip[12:16]), gives_address=fields[8] != bytes(4))


def _options(content: bytes) -> Mapping[int, bytes]:
    return dict(_each(content))


def _each(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 1 < len(content) and content[at] != _END:
        if content[at] == 0:
            at += 1
            continue
        yield content[at], content[at + 2 : at + 2 + content[at + 1]]
        at += 2 + content[at + 1]


def _checksum(header: bytes) -> int:
    """Return the checksum of a header (RFC 1071)."""
    total = int(sum(struct.unpack(f"!{len(header) // 2}H", header)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
