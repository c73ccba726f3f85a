"""The small client of the hub, where there is no hub."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import zmq

from cncp.ipp.connection_file import ConnectionFile
from cncp.ipp.hub import Hub, NoAnswer

FRAMES = 7
"""Of a request as the hub gets it: the client's identity, the delimiter, the signature, four parts."""


@contextlib.contextmanager
def stranger() -> Iterator[int]:
    """Yield a port where somebody else answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as client:
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_stranger_on_the_port_keeps_nobody_waiting() -> None:
    """Every request ends in time, and the hub is found when it is there at last."""
    public, secret = zmq.curve_keypair()
    with stranger() as port:
        words = {
            "signature_scheme": "hmac-sha256",
            "pack": "json",
            "unpack": "json",
            "curve_serverkey": public.decode(),
        }
        hub = Hub(ConnectionFile(key="k", interface="tcp://127.0.0.1", registration=port, location="h", **words))
        for _ in range(4):
            with pytest.raises(NoAnswer):
                hub.engines(timeout=0.1)
    with hub, zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.curve_server, server.curve_secretkey = True, secret
        server.bind(f"tcp://127.0.0.1:{port}")
        with pytest.raises(NoAnswer):
            hub.engines(timeout=0.1)
        assert server.poll(5000)
        assert len(server.recv_multipart()) == FRAMES
