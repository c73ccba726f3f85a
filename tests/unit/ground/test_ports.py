"""TCP ports of this machine: who is connected to one."""

from __future__ import annotations

import os
import socket

from cncp.ports import connections
from cncp.waiting import wait_until


def test_connections_to_a_port() -> None:
    """Those that were made from anywhere are counted for as long as they are there, and no others."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)) as first, socket.create_connection(("127.0.0.1", port)):
            assert wait_until(lambda: connections(port), 5, 0.1, lambda found: found == 2) == 2
            assert connections(first.getsockname()[1]) == 1
            assert connections(port, os.getpid()) == 0
        # What the other side has closed is none any more, whether this one has noticed or not.
        assert wait_until(lambda: connections(port), 5, 0.1, lambda found: not found) == 0
