"""A host of the lab: a disk of its own, a systemd of its own, a cable to the bridge."""

from __future__ import annotations

import errno
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pexpect

from .command import PLAIN_ENV, LabError, LabTimeoutError, run
from .files import Files
from .machine import Machine
from .network import set_link
from .ssh import Login
from .users import User

BOOT_TIMEOUT = 60  # seconds; a boot takes about two
WAIT_ONLINE = "/lib/systemd/systemd-networkd-wait-online"


class Host(Files):
    """A host made by :meth:`Lab.host`; it is off until :meth:`boot`.

    ``name`` is its host name, ``address`` its address on the bridge, ``root`` its
    disk as seen from outside, and ``users`` the people who can log in, by name.
    The disk seen from outside lacks what is mounted inside (/run, /tmp): use
    :meth:`read`, :meth:`write` and :meth:`put`, which see what the host sees.
    """

    def __init__(
        self,
        machine: Machine,
        address: str,
        suite: str,
        users: Sequence[User],
        login: Login,
    ) -> None:
        self.name = machine.hostname
        self.address = address
        self.suite = suite
        self.users = {user.name: user for user in users}
        self.machine = machine
        self._login = login

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address} {self.suite}>"

    @property
    def root(self) -> Path:
        """Its disk as seen from outside."""
        return self.machine.root

    @property
    def running(self) -> bool:
        """Whether it is switched on."""
        return self.machine.leader() is not None

    @property
    def enforces_limits(self) -> bool:
        """Whether MemoryMax, CPUQuota and TasksMax do anything on it.

        They are accepted without effect where this machine keeps the controllers
        in control groups of version 1.
        """
        return "memory" in self.read("/sys/fs/cgroup/cgroup.controllers").split()

    # Power ------------------------------------------------------------------

    def boot(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Switch it on; wait until systemd has finished the boot and sshd answers."""
        if self.running:
            raise LabError(f"{self.name} runs already")
        deadline = time.monotonic() + timeout
        self.machine.start(timeout)
        state = self.exec(["systemctl", "is-system-running"], check=False).stdout.strip()
        if state not in ("running", "degraded"):
            raise LabError(f"{self.name} booted into the state {state!r}", self.machine.tail())
        self._await_ssh(deadline)

    def reboot(self, timeout: float = BOOT_TIMEOUT) -> None:
        """``systemctl reboot`` inside, and wait until it is back."""
        self._shut_down("reboot", timeout)
        self.boot(timeout)

    def power_off(self, timeout: float = BOOT_TIMEOUT) -> None:
        """``systemctl poweroff`` inside, and wait until it is off."""
        self._shut_down("poweroff", timeout)

    def power_cut(self) -> None:
        """SIGKILL to everything at once; the disk stays as it was at that moment.

        What the host had written but not synced is kept, unlike after a real
        power cut: the page cache is this machine's, and this machine goes on.
        """
        self.machine.kill()
        self.logout()

    def _shut_down(self, verb: str, timeout: float) -> None:
        self.logout()
        # A session that ends while systemd takes dbus down waits 90 s for its logind; none may begin, either.
        self.exec(["systemctl", "stop", "ssh.service"], check=False)
        self.exec(["systemctl", "stop", "session-*.scope"], check=False)
        self.exec(["systemctl", verb], check=False)
        try:
            self.machine.wait_ended(timeout)
        except LabTimeoutError as error:
            raise LabTimeoutError(f"{self.name}: {verb} hangs", self.machine.tail()) from error

    # Network ----------------------------------------------------------------

    def network(self, up: bool) -> None:
        """Plug its cable in (and wait until sshd answers) or pull it out."""
        set_link(self.machine.veth, up)
        if up:
            self._await_ssh(time.monotonic() + BOOT_TIMEOUT)
        else:
            self.logout()  # the kept connections would hang rather than fail

    def _await_ssh(self, deadline: float) -> None:
        """Wait until the address is set, then for the first words of sshd."""
        left = max(1.0, deadline - time.monotonic())
        try:
            self.exec([WAIT_ONLINE, "--interface=host0", f"--timeout={left:.0f}"], timeout=left + 5)
            with self._dial(deadline) as connection:
                hello = connection.recv(64)
        except OSError as error:
            raise LabError(f"{self.name}: sshd does not answer: {error}", self.machine.tail()) from error
        if not hello.startswith(b"SSH-"):
            raise LabError(f"{self.name}: sshd said {hello!r}", self.machine.tail())

    def _dial(self, deadline: float) -> socket.socket:
        """Connect to sshd; a bridge that has just missed the host says for a while that there is no way to it."""
        while True:
            left = max(1.0, deadline - time.monotonic())
            try:
                return socket.create_connection((self.address, 22), timeout=left)
            except OSError as error:
                if error.errno != errno.EHOSTUNREACH or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    # Commands ---------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        user: str = "root",
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command through a real ssh login, with all PAM and logind do.

        The connection is kept for the user's next command, so their session lasts
        from the first command to :meth:`logout`. When no login is possible the
        status is 255, as ssh gives it (or an error, with ``check``).
        """
        return self._login.run(argv, user, input=input, env=env, check=check, timeout=timeout)

    def exec(
        self,
        argv: Sequence[str],
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root from outside: no ssh, no network, no session.

        On a host that is off the command runs on its disk alone.
        """
        return run(
            self.machine.inside(argv),
            input=input,
            check=check,
            timeout=timeout,
            env=PLAIN_ENV,
            where=self.name,
            shown=argv,
        )

    def shell_tty(self, argv: Sequence[str] = (), user: str = "root", timeout: float = 30) -> pexpect.spawn[str]:
        """Start a command (or the login shell) on a terminal, in a session of its own."""
        return self._login.tty(argv, user, timeout)

    def ssh_command(self, user: str = "root") -> list[str]:
        """Build the command line that logs in, for people and for other programs."""
        return self._login.command(user)

    def logout(self, user: str | None = None) -> None:
        """End the session of ``user`` (or of everybody) that :meth:`run` keeps open."""
        self._login.close(user)

    def journal(self, *options: str) -> str:
        """Give what ``journalctl`` says, with these options."""
        return self.exec(["journalctl", "--no-pager", *options]).stdout
