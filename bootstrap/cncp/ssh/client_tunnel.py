"""One ssh that carries all ports of a client: opened, watched, opened again at the same local ports."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cncp.errors import CncpError
from cncp.ports import is_free
from cncp.process import Completed, Process, begin
from cncp.ssh import openssh
from cncp.ssh.connection import Remote
from cncp.ssh.host_errors import CONNECT_TIMEOUT, refused
from cncp.waiting import wait_until

_LOGIN_TIMEOUT = 2.0 * CONNECT_TIMEOUT


class Tunnel:
    """Forwards from ports of this machine's loopback to a controller as its own machine sees it.

    Not with ``ssh -L`` on the command line but added to a running connection: forwards that the
    user's configuration has for that host stay out of it (ClearAllForwardings), and each refusal is told.
    """

    def __init__(self, remote: Remote, forwards: Sequence[tuple[int, str, int]]) -> None:
        """``forwards`` are (local port, address there, port there)."""
        self._remote = remote
        self._forwards = tuple(forwards)
        self._process: Process | None = None
        self._folder: Path | None = None

    def open(self) -> None:
        """Log in and forward all ports. Raises CncpError saying why that was not possible."""
        self.close()
        taken = [local for local, _, _ in self._forwards if not is_free(local)]
        if taken:
            raise PortsTaken(taken)
        folder = Path(tempfile.mkdtemp(prefix="cncp-"))
        self._folder = folder
        with (folder / "said").open("wb") as said:
            words = openssh.carrier(folder / "s", self._remote.options(), self._remote.spec.name)
            self._process = begin(words, stdout=said, stderr=said, apart=True)
        try:
            self._await_login(folder, self._process)
            self._forward(folder)
        except BaseException:
            self.close()
            raise

    def _forward(self, folder: Path) -> None:
        forwards = [word for forward in self._forwards for word in ("-L", "127.0.0.1:{}:{}:{}".format(*forward))]
        done = openssh.carry(folder / "s", self._remote.spec.name, forwards)
        if not done.ok:
            raise self._refused(folder, done)

    def _await_login(self, folder: Path, process: Process) -> None:
        # ssh makes the socket once it is let in.
        socket = folder / "s"
        wait_until(lambda: socket.exists() or process.poll() is not None, _LOGIN_TIMEOUT)
        if not socket.exists():
            late = process.poll() is None
            said = "" if late else (folder / "said").read_text(errors="replace")
            raise refused(self._remote.spec, said, 124 if late else process.returncode)

    def _refused(self, folder: Path, done: Completed) -> CncpError:
        said = [*(folder / "said").read_text(errors="replace").splitlines(), *done.stderr.splitlines()]
        reason = next((line for line in said if line.strip()), "no reason given")
        return NoForwards(
            f"ssh to {self._remote.spec.name} forwards no ports: {reason.strip()}",
            "see AllowTcpForwarding in its sshd_config(5), and who listens here: ss -ltn",
        )

    @property
    def pid(self) -> int:
        """The process id of ssh, 0 where none runs."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def wait(self) -> str:
        """Wait until the connection ends, and return what ssh said of it."""
        if self._process is None or self._folder is None:
            return ""
        self._process.wait()
        said = (self._folder / "said").read_text(errors="replace").strip().splitlines()
        return said[-1].strip() if said else f"ssh ended with {self._process.returncode}"

    def interrupt(self) -> None:
        """End the connection from a signal handler: `wait` returns."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def close(self) -> None:
        """End the connection and free the ports."""
        if self._process is not None:
            self._process.end(5)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class NoForwards(CncpError):
    """The server, or a port here, does not allow a forward."""


class PortsTaken(NoForwards):
    """Local ports are in use by somebody else."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(
            f"local ports are taken: {', '.join(map(str, ports))}",
            "see who listens: ss -ltnp; or choose others: --ports LOW-HIGH",
        )
