"""One nspawn container from start to end: started, awaited, found again, killed.

The container is described by a small record on disk, so that a later process
(``lab.down``, the sweep after a crash) can act on it just as its starter could.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .cgroup import Group, groups_of, joining, seeing_v2
from .command import PLAIN_ENV, LabError, LabTimeoutError
from .network import drop_link
from .process import Process, wait_ended

CONSOLE_TAIL = 3000  # characters of the console that an error shows


@dataclass(frozen=True)
class Machine:
    """What it takes to run a container: its name, its disk and its bridge."""

    name: str  # of the container, at most 12 characters so that the veth's name fits
    hostname: str
    root: Path
    bridge: str
    folder: Path  # where the console's log and the record stand

    @property
    def veth(self) -> str:
        """The outer end of its network cable."""
        return f"vb-{self.name}"

    @property
    def console(self) -> Path:
        """What it printed on its console, over all its boots."""
        return self.folder / "console.log"

    @property
    def _record(self) -> Path:
        return self.folder / "running.json"

    @property
    def group(self) -> Group:
        """The control group all of its processes are in."""
        return Group(self.name)

    def leader(self) -> int | None:
        """Find the process that is PID 1 inside; None when the container does not run."""
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        return record["leader"] if Process(**record["nspawn"]).alive() else None

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Build the command that runs ``argv`` inside as root; on its disk alone when it is off.

        It joins the group of the PID 1 inside as well as the namespaces: logind
        refuses to serve a process that is in none of its own groups.
        """
        leader = self.leader()
        if leader is None:
            return ["chroot", str(self.root), *argv]
        enter = ["nsenter", "--target", str(leader), "--all", "--", *argv]
        return joining(groups_of(leader), enter)

    def start(self, timeout: float) -> None:
        """Start it and wait until its systemd says that the boot is complete.

        A time-out or an end before that raises :class:`LabError` with the last
        lines of the console, and leaves nothing running.
        """
        self.group.kill()  # what a power cut by other hands may have left
        self.group.create()
        drop_link(self.veth)  # of a host whose power was cut a moment ago
        deadline = time.monotonic() + timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            address = f"\0cncp-lab/{self.name}/{os.getpid()}"
            told.bind(address)
            nspawn = self._spawn("@" + address[1:])
            handle = os.pidfd_open(nspawn.pid)
            # Takes note of its end whenever that is; nobody else can, and a process
            # whose end is not noted stays in the process table.
            threading.Thread(target=nspawn.wait, daemon=True).start()
            try:
                self._await_ready(told, handle, nspawn, deadline)
            except BaseException:
                self.kill()
                nspawn.wait()
                raise
            finally:
                os.close(handle)

    def _spawn(self, notify: str) -> subprocess.Popen[bytes]:
        argv = [
            "systemd-nspawn", "--quiet", "--boot",
            "--directory", str(self.root), "--machine", self.name,
            "--hostname", self.hostname,
            "--network-bridge", self.bridge,
            "--register=no", "--keep-unit",  # neither needs a systemd out here
            "--notify-ready=yes",  # tells us when the boot inside is complete
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        ]  # fmt: skip
        with self.console.open("ab") as console:
            return subprocess.Popen(
                joining(self.group.paths, seeing_v2(argv)),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**PLAIN_ENV, "NOTIFY_SOCKET": notify},
                start_new_session=True,  # a Ctrl-C at the tests must not reach it
            )

    def _await_ready(self, told: socket.socket, handle: int, nspawn: subprocess.Popen[bytes], deadline: float) -> None:
        """Read what nspawn tells until the boot is complete; ``handle`` is readable at its end."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(told, selectors.EVENT_READ)
            waiting.register(handle, selectors.EVENT_READ)
            while ready := waiting.select(max(0.0, deadline - time.monotonic())):
                if not any(key.fileobj is told for key, _ in ready):
                    status = nspawn.wait()
                    raise LabError(f"{self.hostname} ended with status {status} while booting", self.tail())
                if self._note(told.recv(4096).decode(errors="replace"), nspawn.pid):
                    return
        raise LabTimeoutError(f"{self.hostname} did not boot in time", self.tail())

    def _note(self, message: str, nspawn: int) -> bool:
        """Keep what nspawn says in the record; True when the boot is complete."""
        said = dict(line.partition("=")[::2] for line in message.splitlines())
        if pid := said.get("X_NSPAWN_LEADER_PID"):
            record = {"leader": int(pid), "nspawn": asdict(Process.of(nspawn))}
            self._record.write_text(json.dumps(record))
        return said.get("READY") == "1"

    def wait_ended(self, timeout: float) -> None:
        """Wait until the container has ended by itself."""
        with contextlib.suppress(FileNotFoundError):
            record = json.loads(self._record.read_text())
            nspawn = Process(**record["nspawn"])
            if nspawn.alive():
                wait_ended(nspawn.pid, timeout)
        self._gone()

    def kill(self) -> None:
        """End it at once, as when the power fails; no process inside is asked."""
        self.group.kill()
        self._gone()

    def _gone(self) -> None:
        self._record.unlink(missing_ok=True)
        self.group.remove()

    def tail(self) -> str:
        """Give the last of its console, for error messages."""
        try:
            text = self.console.read_text(errors="replace")
        except FileNotFoundError:
            text = ""
        return f"the console's last lines ({self.console}):\n{text[-CONSOLE_TAIL:]}"
