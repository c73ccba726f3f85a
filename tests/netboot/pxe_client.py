"""A machine that boots from the network, as far as its script: DHCP as firmware and as iPXE, TFTP, HTTP."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

BIOS, UEFI = 0, 7
UUID = "00000000-0000-0000-0000-0000000000a1"


@dataclass(frozen=True)
class Answer:
    """What a server says: an address, the file to boot, whence, and all else."""

    address: str
    file: str
    server: str
    options: Mapping[int, bytes]


@dataclass(frozen=True)
class PxeClient:
    """A card on an interface of this machine, with a firmware."""

    interface: str
    card: bytes
    architecture: int = BIOS

    @property
    def mac(self) -> str:
        """Return its address as text."""
        return self.card.hex(":")

    def discover(
        self, *, ipxe: bool = False, client_id: bytes = b"", seconds: float = 20, server: str = ""
    ) -> Answer | None:
        """Ask for an address and what to boot; return the first answer, asked again each 2 s as firmware does.

        With ``server`` only an answer of that one counts.
        """
        options = {
            53: b"\1",
            60: b"PXEClient:Arch:%05d:UNDI:002001" % self.architecture,
            93: struct.pack("!H", self.architecture),
            94: b"\1\2\1",
            97: b"\0" + bytes(16),
            55: bytes((1, 3, 6, 43, 60, 66, 67, 175)),
            **({77: b"iPXE", 175: b"\xb1\1\1"} if ipxe else {}),
            **({61: client_id} if client_id else {}),
        }
        deadline = time.monotonic() + seconds
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as line:
            line.bind((self.interface, 0x0800))
            while time.monotonic() < deadline:
                line.send(self._frame(options))
                until = time.monotonic() + 2
                while (left := until - time.monotonic()) > 0:
                    line.settimeout(left)
                    with contextlib.suppress(TimeoutError):
                        found = self._answer(line.recv(2048))
                        if found and server in ("", socket.inet_ntoa(found.options.get(54, bytes(4)))):
                            return found
        return None

    def _frame(self, options: Mapping[int, bytes]) -> bytes:
        packed = b"".join(bytes((name, len(value))) + value for name, value in options.items())
        head = struct.pack("!BBBBIHH16x", 1, 1, 6, 0, int.from_bytes(self.card[2:], "big"), 0, 0x8000)
        body = head + self.card.ljust(16 + 64 + 128, b"\0") + b"\x63\x82\x53\x63" + packed + b"\xff"
        udp = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
        words = sum(struct.unpack("!10H", ip))
        check = ~((words & 0xFFFF) + (words >> 16)) & 0xFFFF
        return b"\xff" * 6 + self.card + b"\x08\0" + ip[:10] + struct.pack("!H", check) + ip[12:] + udp

    def _answer(self, frame: bytes) -> Answer | None:
        ip = frame[14:]
        body = ip[4 * (ip[0] & 15) + 8 :]
        at_client = ip[9] == 17 and ip[4 * (ip[0] & 15) :][2:4] == b"\0\x44"
        if not at_client or len(body) < 240 or body[0] != 2 or body[28:34] != self.card:
            return None
        options, rest = dict[int, bytes](), body[240:]
        while rest and rest[0] != 255:
            if rest[0]:
                options[rest[0]] = rest[2 : 2 + rest[1]]
            rest = rest[2 + rest[1] :] if rest[0] else rest[1:]
        file = options.get(67, body[108:236]).split(b"\0")[0].decode()
        server = options.get(66, b"").rstrip(b"\0").decode() or socket.inet_ntoa(body[20:24])
        return Answer(socket.inet_ntoa(body[16:20]), file, server, options)

    def script(self, answer: Answer) -> str:
        """Load what iPXE is told to load, with what it puts in for its card and its board."""
        url = answer.file.replace("${netX/mac}", self.mac).replace("${uuid}", UUID)
        assert re.fullmatch(r"http://[^$]+", url), answer
        with urllib.request.urlopen(url, timeout=30) as found:
            return str(found.read().decode())


def tftp(server: str, name: str) -> bytes:
    """Fetch a file as firmware does (RFC 1350)."""
    content = b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(20)
        line.sendto(b"\0\1" + name.encode() + b"\0octet\0", (server, 69))
        for number in range(1, 1 << 16):
            packet, where = line.recvfrom(1024)
            assert packet[:4] == struct.pack("!HH", 3, number), packet[:100]
            content += packet[4:]
            line.sendto(b"\0\4" + packet[2:4], where)
            if len(packet) < 4 + 512:
                break
    return content
