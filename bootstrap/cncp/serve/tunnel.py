"""A tunnel as a service: one ssh that is connected again whenever it has ended.

The end of ssh is no failure of this service: a host that is switched off for a week must not look
like one that crashes, nor keep the service manager busy.
"""

from __future__ import annotations

import collections
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from cncp.errors import CncpError
from cncp.machine import tunnels
from cncp.machine.node import Node
from cncp.process import PIPE, begin
from cncp.serve.log_files import log_to
from cncp.serve.pdeathsig import die_with
from cncp.ssh import openssh
from cncp.waiting import wait_until

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
    while (tunnel := next((known for known in tunnels.load(home) if known.name == name), None)) is not None:
        log.info("connecting to %s", tunnel.host)
        began = time.monotonic()
        log.warning("%s: %s", tunnel.host, _run(node.run_dir, home, tunnel))
        wait = _FIRST_WAIT if time.monotonic() - began > _STEADY else min(2 * wait, _LONGEST_WAIT)
        time.sleep(wait)
    sys.exit(f"there is no tunnel {name} in {tunnels.folder(home)}: cncp up says which there are")


def _run(folder: Path, home: Path, tunnel: tunnels.Tunnel) -> str:
    """Run ssh to its end and return what it said last, or why it does not carry the ports.

    Its socket is named from the folder it is in, because the path of a socket has at most 107 bytes.
    """
    socket, said = folder / f"{tunnel.name}.s", collections.deque[str](maxlen=1)
    # A predecessor that was killed leaves its own.
    socket.unlink(missing_ok=True)
    words = tunnels.command(home, tunnel, socket.name)
    with begin(words, stderr=PIPE, cwd=folder, first=_die_with_parent) as ssh:
        reader = threading.Thread(target=_read, args=(ssh.stderr or (), said), daemon=True)
        reader.start()
        # ssh makes the socket once it is let in.
        wait_until(lambda: ssh.poll() is not None or socket.exists(), math.inf)
        # Some of the ports would be a cluster that half works.
        refusal = _refusal(folder, socket.name, tunnel) if ssh.poll() is None else ""
        if refusal:
            ssh.terminate()
        reader.join()
    return refusal or next(iter(said), f"ssh ended with {ssh.returncode}")


def _refusal(folder: Path, socket: str, tunnel: tunnels.Tunnel) -> str:
    try:
        done = openssh.carry(socket, tunnel.host, tunnels.forwards(tunnel), cwd=folder)
    except CncpError as error:
        return error.message
    return "" if done.ok else (done.stderr.strip() or "the ports are refused").splitlines()[0].strip()


def _read(lines: Iterable[bytes], said: collections.deque[str]) -> None:
    said.extend(line.decode(errors="replace").strip() for line in lines if line.strip())


def _die_with_parent() -> None:
    """In ssh's process: ask the kernel for SIGTERM when the parent is gone, so that the ports are free again."""
    die_with(signal.SIGTERM)
