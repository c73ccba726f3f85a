"""dnsmasq, kept by whatever keeps our services: its end is ours, and ours its."""

from __future__ import annotations

import signal
import sys

from cncp.machine.node import Node
from cncp.netboot.service.dnsmasq_conf import PROGRAM
from cncp.process import begin


def serve(node: Node) -> None:
    """Run it until the end is asked for, or it ends by itself. It becomes an account without rights, as it is told."""
    words = [PROGRAM, "--keep-in-foreground", "--log-facility=-", f"--conf-file={node.home}/dnsmasq.conf"]
    with begin(words, stderr=None) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        status = server.wait()
    sys.exit(status)
