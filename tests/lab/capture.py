"""Runs on a lab host as root: write what passes over loopback to a file until told to stop.

``python3 capture.py FILE`` prints "ready", then records whole packets until its standard input ends.
"""

import os
import select
import socket
import sys

ETH_P_ALL = 3


def main(path: str) -> None:
    """Record until standard input ends."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap, open(path, "wb") as record:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        tap.bind(("lo", 0))
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([tap, sys.stdin], [], [])
            if tap in readable:
                record.write(tap.recv(65536))
            elif not os.read(sys.stdin.fileno(), 1):
                return


main(sys.argv[1])
