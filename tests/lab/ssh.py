"""Logins to lab hosts: one key for the lab, host keys known before the first login.

Everything stands in the lab's own folder, so neither the key nor the known
hosts of the person who runs the tests are read or changed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pexpect

from .command import CommandError, LabTimeoutError, run

CONNECT_TIMEOUT = 5  # seconds a login may take to get an answer


class Keys:
    """The key pair, the known hosts and the ssh configuration of one lab."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private = folder / "id_ed25519"
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "ssh_config"
        self.masters = folder / "ssh"

    @property
    def public(self) -> str:
        """The public key, as a line for ``authorized_keys``."""
        return self.private.with_suffix(".pub").read_text()

    def create(self) -> None:
        """Make the key pair and a configuration without hosts."""
        self.masters.mkdir(mode=0o700)
        make_key(self.private, "cncp-lab")
        self.write({})

    def write(self, hosts: Mapping[str, tuple[str, str]]) -> None:
        """Write known hosts and configuration for ``{name: (address, host key)}``."""
        known = [f"{name},{address} {key}" for name, (address, key) in hosts.items()]
        self.known_hosts.write_text("\n".join([*known, ""]))
        blocks = [f"Host {name}\n    HostName {address}" for name, (address, _) in hosts.items()]
        common = {
            "IdentityFile": self.private,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": CONNECT_TIMEOUT,
            "LogLevel": "ERROR",
        }
        settings = "\n".join(f"    {name} {value}" for name, value in common.items())
        self.config.write_text("\n".join([*blocks, f"Host *\n{settings}\n"]))


def make_key(private: Path, comment: str) -> str:
    """Make an ed25519 key pair without a passphrase; give the public line."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", private])
    return private.with_suffix(private.suffix + ".pub").read_text().strip()


def prepare_sshd(root: Path, keys: Keys) -> str:
    """Give the disk at ``root`` a host key and let the lab's key in; gives the host key.

    The lab's key stands in /etc/ssh rather than in homes, so that every user's
    ``~/.ssh`` is as empty as it is on a new machine.
    """
    (root / "etc/ssh/cncp-lab.pub").write_text(keys.public)
    (root / "etc/ssh/sshd_config.d/cncp-lab.conf").write_text(
        "# The lab's own key, beside the keys users have.\n"
        "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/cncp-lab.pub\n"
        "# One kind of host key: making the others would take seconds.\n"
        "HostKey /etc/ssh/ssh_host_ed25519_key\n"
    )
    return make_key(root / "etc/ssh/ssh_host_ed25519_key", "")


class Login:
    """Logins of any user to one host, over one connection a user."""

    def __init__(self, keys: Keys, host: str) -> None:
        self.keys = keys
        self.host = host
        self._opening = threading.Lock()

    def command(self, user: str, *options: str) -> list[str]:
        """Build the ssh command line of a login, without a remote command."""
        return ["ssh", "-F", str(self.keys.config), *options, f"{user}@{self.host}"]

    def _socket(self, user: str) -> Path:
        return self.keys.masters / f"{user}@{self.host}"

    def _open(self, user: str, timeout: float) -> None:
        """Log in once and keep the connection for the commands that follow."""
        if self._socket(user).exists():
            return
        argv = self.command(
            user, "-o", "BatchMode=yes", "-o", "ControlMaster=yes",
            "-o", "ControlPersist=yes", "-S", str(self._socket(user)), "-N", "-f",
        )  # fmt: skip
        # The connection goes on in the background with the files it was given:
        # with a pipe, reading to the end would wait for the end of the connection.
        log = self.keys.masters / f"{user}@{self.host}.log"
        with log.open("wb") as said:
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                    timeout=timeout, check=False, start_new_session=True,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise LabTimeoutError(f"{self.host}: no login as {user} in {timeout:g} s: {log.read_text()}") from error
        if done.returncode != 0:
            text = log.read_text(errors="replace")
            raise CommandError(subprocess.CompletedProcess(argv, done.returncode, "", text))

    def run(
        self,
        argv: Sequence[str],
        user: str,
        *,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as ``user``; a failed login is status 255, as with ssh itself."""
        setting = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
        try:
            with self._opening:  # two threads would leave one connection nobody closes
                self._open(user, timeout)
        except CommandError as error:
            if check:
                raise
            return subprocess.CompletedProcess(list(argv), 255, "", error.result.stderr)
        # ssh has no way to pass arguments: the remote shell gets one string.
        remote = shlex.join([*setting, *argv])
        kept = ["-o", "BatchMode=yes", "-S", str(self._socket(user))]
        return run(
            [*self.command(user, *kept), "--", remote],
            input=input,
            check=check,
            timeout=timeout,
            where=f"{user}@{self.host}",
            shown=argv,
        )

    def tty(self, argv: Sequence[str], user: str, timeout: float) -> pexpect.spawn[str]:
        """Start a command on a terminal, over a connection of its own."""
        command = self.command(user, "-tt")
        if argv:
            command += ["--", shlex.join(argv)]
        # The tester's TERM may be one that the host has never heard of.
        return pexpect.spawn(
            command[0], command[1:], timeout=timeout, encoding="utf-8",
            env={**os.environ, "TERM": "xterm"}, dimensions=(40, 120),
        )  # fmt: skip

    def close(self, user: str | None = None) -> None:
        """Log out: end the kept connection of ``user``, or of everybody."""
        sockets = [self._socket(user)] if user else list(self.keys.masters.glob(f"*@{self.host}"))
        for path in sockets:
            if path.is_socket():
                run(
                    ["ssh", "-F", self.keys.config, "-S", path, "-O", "exit", self.host],
                    check=False,
                )
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
