"""A port of another machine's loopback on ours: carried by one ssh for as long as somebody wants it."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cncp.config.inventory import HostSpec
from cncp.process import PIPE, Process, begin
from cncp.ssh import openssh
from cncp.ssh.connection import Remote
from cncp.ssh.host_errors import HostError
from cncp.waiting import wait_until

_PATIENCE = 30.0  # s for a login and the forwarding


def local_port(wished: int) -> int:
    """Return ``wished`` where that port is free on our loopback, else one that is.

    The same number on both sides makes addresses and cookies the same from one day to the next.
    """
    for port in (wished, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As ssh does it: connections that have just ended are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")


def command(spec: HostSpec, socket: Path) -> list[str]:
    """Return the argument list of the ssh that is asked for the forward at ``socket``."""
    return openssh.carrier(socket, Remote(spec).options(), spec.name)


@contextlib.contextmanager
def forwarded(spec: HostSpec, here: int, there: int) -> Iterator[Process]:
    """Forward a port for the length of a ``with`` block; give the ssh that does. Raises HostError."""
    with (
        tempfile.TemporaryDirectory(prefix="cncp-") as folder,
        # Ctrl-C is for us: we end it.
        begin(command(spec, socket := Path(folder, "s")), stderr=PIPE, apart=True) as process,
    ):
        try:
            _await(spec, process, socket)
            done = openssh.carry(socket, spec.name, ["-L", f"127.0.0.1:{here}:127.0.0.1:{there}"])
            if not done.ok:
                raise _refused(spec, done.stderr)
            yield process
        finally:
            process.terminate()


def hold(spec: HostSpec, process: Process) -> None:
    """Wait for Ctrl-C. Raises HostError when the connection ends before that."""
    try:
        process.wait()
    except KeyboardInterrupt:
        return
    raise HostError(spec.name, "the connection has ended" + _said(process), "check the network, then run this again")


def _await(spec: HostSpec, process: Process, socket: Path) -> None:
    # ssh makes the socket once it is let in.
    wait_until(lambda: socket.exists() or process.poll() is not None, _PATIENCE)
    if process.poll() is not None:
        raise HostError(spec.name, "the port could not be forwarded" + _said(process), f"try by hand: ssh {spec.name}")
    if not socket.exists():
        raise HostError(spec.name, f"no login within {_PATIENCE:g} s", f"try by hand: ssh {spec.name}")


def _refused(spec: HostSpec, said: str) -> HostError:
    reason = "".join(f": {line}" for line in said.strip().splitlines()[:1])
    return HostError(
        spec.name, "the port could not be forwarded" + reason, "see AllowTcpForwarding in its sshd_config(5)"
    )


def _said(process: Process) -> str:
    lines = process.stderr.read().decode(errors="replace").strip().splitlines() if process.stderr else ()
    return f": {lines[-1]}" if lines else ""
