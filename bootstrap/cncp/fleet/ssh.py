"""One connection a host: OpenSSH with multiplexing, and the same interface for this machine.

OpenSSH rather than a library, because it is what the user already logs in with: all of
``~/.ssh/config``, agents, certificates, hardware keys, ProxyJump and host keys count as they do by
hand. One process a host authenticates (``ControlMaster``, ssh_config(5)); every command after that is
a channel of the same connection and costs no login.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol

from cncp.errors import CncpError
from cncp.inventory import HostSpec

if TYPE_CHECKING:
    from typing_extensions import Self

KEY = Path(".ssh") / "cncp_ed25519"
"""The dedicated key that ``keys.generate`` makes, in the user's home; offered beside the user's own."""

CONNECT_TIMEOUT = 15
"""Seconds for a host to answer and let us in."""

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

Line = Callable[[str], None]
"""Takes a line of a command's progress."""


@dataclass(frozen=True)
class Result:
    """How a command on a host ended: its exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the command exited with 0."""
        return self.status == 0


class HostError(CncpError):
    """One host could not be reached, or failed at what it was to do. ``host`` is its name.

    ``said`` is what ssh said where that was the reason.
    """

    def __init__(self, host: str, message: str, hint: str, said: str = "") -> None:
        super().__init__(message, hint)
        self.host = host
        self.said = said


class Host(Protocol):
    """A machine that commands can be run on, here or over ssh. Paths are relative to its home."""

    spec: HostSpec

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  # as in subprocess
        timeout: float = 60,
        check: bool = True,
        line: Line | None = None,
        out: Line | None = None,
    ) -> Result:
        """Run a command to its end; ``line`` and ``out`` take its stderr and stdout as they come. Raises HostError."""

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """Write a file atomically, its folder made if missing."""

    def get(self, path: str) -> bytes:
        """Return the content of a file. Raises HostError."""


@dataclass(frozen=True)
class _Ears:
    """Reads a stream line by line, hands every line on, and keeps all of it."""

    stream: IO[bytes]
    hand_on: Line | None
    heard: list[bytes]

    def listen(self) -> None:
        for raw in self.stream:
            self.heard.append(raw)
            if self.hand_on:
                self.hand_on(raw.decode(errors="replace").rstrip())


def _ran(
    host: str,
    argv: Sequence[str],
    timeout: float,
    line: Line | None,
    data: bytes,
    cwd: Path | None = None,
    out: Line | None = None,
) -> Result:
    """Run a local process with a time-out; hand on what it writes line by line as it comes."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, start_new_session=True) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018  # by the arguments above
        ears = [_Ears(process.stdout, out, []), _Ears(process.stderr, line, [])]
        threads = [threading.Thread(target=one.listen, daemon=True) for one in ears]
        for thread in threads:
            thread.start()
        late = threading.Timer(timeout, process.kill)
        late.start()
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError), process.stdin as into:
            into.write(data)
        for thread in threads:
            thread.join()
        status = process.wait()
        late.cancel()
    stdout, stderr = (b"".join(one.heard) for one in ears)
    said = stderr.decode(errors="replace").strip()
    if status < 0 and time.monotonic() - began >= timeout:
        last = f"; the last it said: {said.splitlines()[-1]}" if said else ""
        what = f"no end after {timeout:g} s: {shlex.join(argv[-1:])[:80]}{last}"
        raise HostError(host, what, "look at that host by hand")
    return Result(status, stdout, said)


def _checked(host: str, argv: Sequence[str], result: Result) -> Result:
    if not result.ok:
        said = [one for one in result.stderr.splitlines() if one.strip()]
        what = f"{shlex.join(argv)[:80]} exited with {result.status}"
        raise HostError(host, what + (f": {said[-1]}" if said else ""), f"run it by hand: ssh {host}")
    return result


_PUT = """
umask 077 && mkdir -p -- "$(dirname -- "$1")" && cat > "$1.new" && chmod -- "$2" "$1.new" && mv -f -- "$1.new" "$1"
"""


class Local:
    """The machine we are on, with the interface of a remote one."""

    def __init__(self, spec: HostSpec) -> None:
        self.spec = spec

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  # as in subprocess
        timeout: float = 60,
        check: bool = True,
        line: Line | None = None,
        out: Line | None = None,
    ) -> Result:
        """Run a command in the home folder."""
        try:
            result = _ran(self.spec.name, argv, timeout, line, input, Path.home(), out)
        except OSError as error:
            result = Result(127, b"", f"{error.filename}: {error.strerror}")
        return _checked(self.spec.name, argv, result) if check else result

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """Write a file atomically."""
        self.run(["sh", "-c", _PUT, "sh", path, f"{mode:04o}"], input=content)

    def get(self, path: str) -> bytes:
        """Return the content of a file."""
        return self.run(["cat", "--", path]).stdout


class Remote:
    """A host over one multiplexed connection of OpenSSH; a context manager."""

    def __init__(self, spec: HostSpec, *, strict: bool = False, askpass: str = "") -> None:
        """``strict`` refuses hosts whose key is not known yet; a changed key is always refused.

        ``askpass`` is a program that ssh asks for passwords (SSH_ASKPASS); without it nothing is asked.
        """
        self.spec = spec
        self._strict = strict
        self._askpass = askpass
        self._folder: Path | None = None

    def options(self) -> list[str]:
        """Return ssh's options for this host, without the connection's own."""
        spec = self.spec
        found = [
            f"ConnectTimeout={CONNECT_TIMEOUT}",
            *_SILENCE,
            f"StrictHostKeyChecking={'yes' if self._strict else 'accept-new'}",
            *([f"Port={spec.port}"] if spec.port else []),
            *([f"User={spec.user}"] if spec.user else []),
            *([f"ProxyJump={spec.jump}"] if spec.jump else []),
            # The name stays what host keys and the configuration are looked up by.
            *([f"HostName={spec.address}", f"HostKeyAlias={spec.name}"] if spec.address else []),
            "ForwardX11=no",
            "ForwardAgent=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            *(_BY_PASSWORD if self._askpass else ["BatchMode=yes"]),
        ]
        words = [word for one in found for word in ("-o", one)]
        key = Path.home() / KEY
        return [*words, *(["-i", str(key)] if key.exists() else [])]

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Log in. Raises HostError saying why that was not possible."""
        # Short, because the path of a socket has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="cncp-"))
        self._folder = folder
        words = ["ssh", "-M", "-S", str(folder / "s"), "-o", f"ControlPersist={_IDLE}", "-N", "-f", *self.options()]
        env = {**os.environ}
        if self._askpass:
            env.update(SSH_ASKPASS=self._askpass, SSH_ASKPASS_REQUIRE="force", DISPLAY=env.get("DISPLAY", ":"))
        # A file rather than a pipe, which the process that stays behind would hold open.
        with (folder / "said").open("w+b") as said:
            try:
                done = subprocess.run(
                    [*words, "--", self.spec.name],
                    check=False,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    timeout=2 * CONNECT_TIMEOUT,
                    start_new_session=True,
                )
                status = done.returncode
            except subprocess.TimeoutExpired:
                status = 124
            except FileNotFoundError:
                raise CncpError("there is no ssh on this machine", "install OpenSSH's client") from None
            said.seek(0)
            words_said = said.read().decode(errors="replace")
        if status:
            self.close()
            raise refused(self.spec, words_said, status)

    def close(self) -> None:
        """End the connection."""
        if self._folder is None:
            return
        socket = self._folder / "s"
        if socket.exists():
            end = ["ssh", "-S", str(socket), "-O", "exit", "--", self.spec.name]
            subprocess.run(end, check=False, capture_output=True, timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the argument list that runs a command on the host over the open connection."""
        if self._folder is None:
            raise HostError(self.spec.name, "not connected", "open the connection first")
        return [
            *("ssh", "-S", str(self._folder / "s"), "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-T"),
            # sshd gives the words to the login shell as one line: each is quoted for it.
            *("--", self.spec.name, shlex.join(argv)),
        ]

    def forwarding(self, target: str) -> list[str]:
        """Return the argument list that joins its input and output to HOST:PORT as seen from the host."""
        if self._folder is None:
            raise HostError(self.spec.name, "not connected", "open the connection first")
        return ["ssh", "-S", str(self._folder / "s"), "-o", "BatchMode=yes", "-W", target, "--", self.spec.name]

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002  # as in subprocess
        timeout: float = 60,
        check: bool = True,
        line: Line | None = None,
        out: Line | None = None,
    ) -> Result:
        """Run a command in the login user's home."""
        result = _ran(self.spec.name, self.command(argv), timeout, line, input, None, out)
        if result.status == 255 and not self.alive():
            raise HostError(self.spec.name, "the connection was lost", "check the network, then run this again")
        return _checked(self.spec.name, argv, result) if check else result

    def alive(self) -> bool:
        """Tell whether the connection still stands."""
        if self._folder is None:
            return False
        ask = ["ssh", "-S", str(self._folder / "s"), "-O", "check", "--", self.spec.name]
        return subprocess.run(ask, check=False, capture_output=True, timeout=10).returncode == 0

    def put(self, content: bytes, path: str, mode: int = 0o600) -> None:
        """Write a file atomically; the content goes over standard input, where no one else sees it."""
        self.run(["sh", "-c", _PUT, "sh", path, f"{mode:04o}"], input=content)

    def get(self, path: str) -> bytes:
        """Return the content of a file."""
        return self.run(["cat", "--", path]).stdout


_REASONS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one known",
        "make sure that it is the same machine; then: ssh-keygen -R {name}",
    ),
    (
        "Host key verification failed",
        "its host key is not known",
        "log in once by hand to accept it, or use --host-keys accept-new",
    ),
    (
        "Permission denied",
        "it lets us in with none of our keys",
        "invoke keys.authorize --hosts {name}, or check the user and the agent",
    ),
    (
        "Too many authentication failures",
        "the agent offered too many keys",
        "set IdentitiesOnly and IdentityFile for {name} in ~/.ssh/config",
    ),
    ("Could not resolve hostname", "there is no such host", "check the name, or give its address in the file"),
    ("Connection refused", "nothing answers on its ssh port", "check that sshd runs there, and the port"),
    ("No route to host", "there is no way to it", "check the network, and that the machine is on"),
    ("timed out", f"no answer within {CONNECT_TIMEOUT} s", "check that the machine is on, and the firewall between"),
)


def refused(spec: HostSpec, said: str, status: int) -> HostError:
    """Return what to tell of a login that failed, from ssh's own words."""
    for mark, what, hint in _REASONS:
        if mark in said:
            return HostError(spec.name, what, hint.format(name=spec.name), said)
    if status == 124:
        return HostError(spec.name, f"no login within {2 * CONNECT_TIMEOUT} s", "try by hand: ssh " + spec.name)
    last = said.strip().splitlines()[-1:] or [f"ssh exited with {status}"]
    return HostError(spec.name, last[0], f"try by hand: ssh {spec.name}")


def host(spec: HostSpec, *, strict: bool = False, askpass: str = "") -> Local | Remote:
    """Return a host to open and use."""
    return Local(spec) if spec.local else Remote(spec, strict=strict, askpass=askpass)
