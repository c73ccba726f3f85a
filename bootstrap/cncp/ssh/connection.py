"""One connection a host: OpenSSH with multiplexing, and the same interface for this machine.

OpenSSH rather than a library, because it is what the user already logs in with: all of
``~/.ssh/config``, agents, certificates, hardware keys, ProxyJump and host keys count as they do by
hand. One process a host authenticates (``ControlMaster``, ssh_config(5)); every command after that is
a channel of the same connection and costs no login. Measured beside Fabric over paramiko
(tests/bench, point `ssh`) that takes less memory for few hosts and more processor time: a process a
command, and above all the key exchange. OpenSSH 9 prefers sntrup761x25519, which resists quantum
computers and takes 85 ms more than curve25519 (a login with each, OpenSSH 9.2); paramiko has no such
exchange in common with it. That is the user's to choose, in ``~/.ssh/config``: KexAlgorithms.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from cncp.config.inventory import HostSpec
from cncp.config.pool_tables import spec as spec_of
from cncp.process import Command, Completed, begin, run
from cncp.ssh import openssh
from cncp.ssh.command import LOGINS, Line, Running, Way, checked, late, never_begun, ran, refuse_when_stopped
from cncp.ssh.command_line import MARK
from cncp.ssh.command_line import line as line_of
from cncp.ssh.command_line import told as as_person
from cncp.ssh.host_errors import CONNECT_TIMEOUT, HostError, refused

if TYPE_CHECKING:
    from typing_extensions import Self

KEY = Path(".ssh") / "cncp_ed25519"
"""The dedicated key that ``keys.generate`` makes, in the user's home; offered beside the user's own."""

FOREVER = 10.0**8
"""Seconds: until the user ends it."""

_SILENCE = ("ServerAliveInterval=5", "ServerAliveCountMax=3")  # a host that hangs is given up after 15 s
_BY_PASSWORD = (
    "NumberOfPasswordPrompts=1",
    "PreferredAuthentications=password,keyboard-interactive",
    "PasswordAuthentication=yes",
    "KbdInteractiveAuthentication=yes",
    # A key with a passphrase would have that asked for as well.
    "PubkeyAuthentication=no",
)
_IDLE = 600  # s after which a connection whose owner was killed ends by itself
_LOG, _JUMP_LOG, _SAID = "log", "jump", "said"

_PUT = """
umask 077 && mkdir -p -- "$(dirname -- "$1")" && cat > "$1.new" && chmod -- "$2" "$1.new" && mv -f -- "$1.new" "$1"
"""


class Host(ABC):
    """A machine that commands can be run on, here or over ssh. Paths are relative to its home."""

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec

    @abstractmethod
    def way(self, argv: Sequence[str], told: Sequence[str] | None = None) -> Way:
        """Return the process on this machine that runs a command there; ``told`` is told of it. Raises HostError."""

    def alive(self) -> bool:
        """Tell whether the way to the machine still stands."""
        return True

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  # as in subprocess
        timeout: float = 60,
        check: bool = True,
        line: Line | None = None,
        out: Line | None = None,
    ) -> Completed:
        """Run a command in the login user's home, to its end.

        ``line`` and ``out`` take its stderr and stdout as they come. Raises HostError when it does not
        end in time, the connection is lost or, with ``check``, it fails.
        """
        name = self.spec.name
        refuse_when_stopped(name)
        try:
            running, result = ran(self.way(argv), timeout, stdin=input, line=line, out=out)
        except OSError as error:
            result = Completed(tuple(argv), 127, b"", f"{error.filename}: {error.strerror}")
        else:
            if running.late.is_set():
                raise late(name, argv, timeout, running, "look at that host by hand")
            self.insist(running)
        return checked(name, argv, result) if check else result

    def insist(self, running: Running) -> None:
        """Raise HostError where a command has not run to its end, whatever that was."""
        if running.status == 255 and not self.alive():
            raise HostError(self.spec.name, "the connection was lost", "check the network, then run this again")
        if not running.begun:
            raise never_begun(self.spec.name, running)

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """Write a file atomically, its folder made if missing.

        The content goes over standard input, where no one else sees it.
        """
        self.run(["sh", "-c", _PUT, "sh", path, f"{mode:04o}"], input=content)

    def get(self, path: str) -> bytes:
        """Return the content of a file. Raises HostError."""
        return self.run(["cat", "--", path]).output


class Local(Host):
    """The machine we are on, with the interface of a remote one."""

    def way(self, argv: Sequence[str], told: Sequence[str] | None = None) -> Way:
        """Return the command itself."""
        text, source = as_person(told or argv)
        return Way(list(argv), told=Command(["sh", "-c", text] if source else told or argv, source=source))


class Remote(Host):
    """A host over one multiplexed connection of OpenSSH; a context manager."""

    def __init__(self, spec: HostSpec, *, strict: bool = False, askpass: str = "") -> None:
        """``strict`` refuses hosts whose key is not known yet; a changed key is always refused.

        ``askpass`` is a program that ssh asks for passwords (SSH_ASKPASS); without it nothing is asked.
        """
        super().__init__(spec)
        self._strict = strict
        self._askpass = askpass
        self._folder: Path | None = None
        self._offered: list[str] = []

    def options(self, *, background: bool = False) -> list[str]:
        """Return ssh's options for this host, without the connection's own."""
        spec = self.spec
        found = [
            *self._common(),
            *self._place(),
            *([f"ProxyCommand={self._through(spec.jump.split(','))}"] if spec.jump else []),
            "ClearAllForwardings=yes",
            "LogLevel=INFO",
            *openssh.settings(background=background),
        ]
        way = openssh.words(found)
        self._offered = self._keys(way, spec.name)
        return [*way, *self._offered]

    def _place(self) -> list[str]:
        spec = self.spec
        # The name stays what host keys and the configuration are looked up by.
        alias = spec.name if spec.address else ""
        return openssh.place(port=spec.port, user=spec.user, address=spec.address, alias=alias)

    @staticmethod
    def _keys(way: Sequence[str], name: str) -> list[str]:
        return openssh.words(openssh.identities(way, name, Path.home() / KEY))

    def _common(self) -> list[str]:
        """Return what holds for jump hosts as well."""
        return [
            f"ConnectTimeout={CONNECT_TIMEOUT}",
            *_SILENCE,
            f"StrictHostKeyChecking={'yes' if self._strict else 'accept-new'}",
            *(_BY_PASSWORD if self._askpass else ["BatchMode=yes"]),
        ]

    def _through(self, jumps: Sequence[str]) -> str:
        """Return the ProxyCommand that goes through hosts, the nearest first.

        ProxyJump would do the same, but log in to them without our key and these options (ssh_config(5)).
        """
        *before, last = jumps
        where = spec_of(last, "jump")
        options = [
            *self._common(),
            *openssh.place(port=where.port, user=where.user),
            *([f"ProxyCommand={self._through(before)}"] if before else []),
            *openssh.settings(),
        ]
        # A connection that is to stay has what this says on stderr thrown away.
        log = ["-E", str(self._folder / _JUMP_LOG), "-o", "LogLevel=VERBOSE"] if self._folder else []
        way = openssh.words(options)
        # ssh expands percent signs once at each level: two of them are one to the next.
        words = shlex.join(["ssh", *log, *way, *self._keys(way, where.name)]).replace("%", "%%")
        return f"{words} -W '[%h]:%p' -- {shlex.quote(where.name)}"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Log in. Raises HostError saying why that was not possible."""
        refuse_when_stopped(self.spec.name)
        # Short, because the path of a socket has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="cncp-"))
        self._folder = folder
        # What ssh says itself is kept apart from what the host has it say, and includes how far a login came.
        own = ["-E", str(folder / _LOG), "-o", "LogLevel=VERBOSE", "-o", f"ControlPersist={_IDLE}"]
        words = ["ssh", "-M", "-S", str(folder / "s"), *own, "-N", "-f", *self.options(background=True)]
        env = {**os.environ}
        if self._askpass:
            env.update(SSH_ASKPASS=self._askpass, SSH_ASKPASS_REQUIRE="force", DISPLAY=env.get("DISPLAY", ":"))
        # A file rather than a pipe, which the process that stays behind would hold open.
        with (folder / _SAID).open("wb") as said:
            try:
                status = _login([*words, "--", self.spec.name], env, said, self.spec.name)
            except BaseException:
                self.close()
                raise
        if status:
            log, jump, banner = (_content(folder / name) for name in (_LOG, _JUMP_LOG, _SAID))
            self.close()
            raise refused(self.spec, jump + log, status, banner)

    def close(self) -> None:
        """End the connection."""
        if self._folder is None:
            return
        socket = self._folder / "s"
        if socket.exists():
            end = [*self._over("-O", "exit"), "--", self.spec.name]
            run(end, check=False, timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def way(self, argv: Sequence[str], told: Sequence[str] | None = None) -> Way:
        """Return the ssh that runs a command over the open connection."""
        name = self.spec.name
        text, source = as_person(told or argv)
        command = Command([*self._by_hand(), text], name, source)
        return Way([*self._over("-T", session=True), "--", name, line_of(name, argv)], MARK, command)

    def _by_hand(self) -> list[str]:
        """Return the beginning of the ssh that gets there by itself."""
        spec = self.spec
        jump = [f"ProxyJump={spec.jump}"] if spec.jump else []
        return ["ssh", *openssh.words([*self._place(), *jump]), *self._offered, "--", spec.name]

    def _over(self, *words: str, session: bool = False) -> list[str]:
        """Return the beginning of an ssh over the open connection. Raises HostError where there is none."""
        if self._folder is None:
            raise HostError(self.spec.name, "not connected", "open the connection first")
        chosen = ["ControlMaster=no", "BatchMode=yes", "LogLevel=ERROR", *openssh.settings(session=session)]
        return ["ssh", "-S", str(self._folder / "s"), *openssh.words(chosen), *words]

    def alive(self) -> bool:
        """Tell whether the connection still stands."""
        if self._folder is None:
            return False
        ask = [*self._over("-O", "check"), "--", self.spec.name]
        return run(ask, check=False, timeout=10).ok


def _login(words: Sequence[str], env: Mapping[str, str], said: IO[bytes], host: str) -> int:
    """Run an ssh that logs in and goes into the background; return its exit status, 124 where it took too long."""
    told = Command(words, host)
    with begin(words, env=env, stdout=said, stderr=said, apart=True, told=told) as process:
        LOGINS.add(process)
        try:
            status = process.ended(2 * CONNECT_TIMEOUT)
            if status is None:
                process.kill()
            return 124 if status is None else status
        finally:
            LOGINS.discard(process)


def _content(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def host(spec: HostSpec, *, strict: bool = False, askpass: str = "") -> Local | Remote:
    """Return a host to open and use."""
    return Local(spec) if spec.local else Remote(spec, strict=strict, askpass=askpass)
