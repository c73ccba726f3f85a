"""A tunnel as a service: one ssh that is connected again whenever it has ended.

The end of ssh is no failure of this service: a host that is switched off for a week must not look
like one that crashes, nor keep the service manager busy.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

from cncp.machine import tunnels
from cncp.machine.node import Node
from cncp.serve.logs import log_to
from cncp.serve.parent import die_with

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0  # s between tries; engines wait for 30 s by default
_STEADY = 30.0  # s after which a connection counts as one that had worked


def serve(node: Node, name: str) -> None:
    """Keep the tunnel ``name`` of a node connected."""
    log = logging.getLogger("cncp.tunnel")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log_to(node, f"tunnel-{name}", log)
    home, wait = Path(node.home), _FIRST_WAIT
    # Read anew each time: the way to a host may have been mended.
    while (one := next((one for one in tunnels.load(home) if one.name == name), None)) is not None:
        log.info("connecting to %s", one.host)
        began = time.monotonic()
        log.warning("%s: %s", one.host, _run(tunnels.command(home, one)))
        wait = _FIRST_WAIT if time.monotonic() - began > _STEADY else min(2 * wait, _LONGEST_WAIT)
        time.sleep(wait)
    sys.exit(f"there is no tunnel {name} in {tunnels.folder(home)}: cncp up says which there are")


def _run(argv: list[str]) -> str:
    """Run ssh to its end and return what it said last."""
    last = ""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace", preexec_fn=_die_with_parent,  # noqa: PLW1509  # there is one thread
    ) as ssh:  # fmt: skip
        for line in ssh.stderr or ():
            last = line.strip() or last
    return last or f"ssh ended with {ssh.returncode}"


def _die_with_parent() -> None:
    """In ssh's process: ask the kernel for SIGTERM when the parent is gone, so that the ports are free again."""
    die_with(signal.SIGTERM)
