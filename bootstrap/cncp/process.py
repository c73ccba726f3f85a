"""The one place that starts other programs. Argument lists only; never a shell string.

`run` waits for the end of a program, `begin` does not, `become` lets it take the place of this one.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from cncp import surroundings
from cncp.errors import CncpError

_OPENSSH = ("openssh-client", "openssh-clients")

PACKAGES: Mapping[str, tuple[str, str]] = {
    "apt-cache": ("apt", "apt"),
    "apt-config": ("apt", "apt"),
    "apt-get": ("apt", "apt"),
    "bash": ("bash", "bash"),
    "busctl": ("systemd", "systemd"),
    "chown": ("coreutils", "coreutils"),
    "crontab": ("cron", "cronie"),
    "dpkg": ("dpkg", "dpkg"),
    "dpkg-deb": ("dpkg", "dpkg"),
    "env": ("coreutils", "coreutils"),
    "genisoimage": ("genisoimage", "genisoimage"),
    "git": ("git", "git-core"),
    "grub-mkimage": ("grub-common", "grub2-tools"),
    "ip": ("iproute2", "iproute"),
    "journalctl": ("systemd", "systemd"),
    "loginctl": ("systemd", "systemd"),
    "mke2fs": ("e2fsprogs", "e2fsprogs"),
    "mksquashfs": ("squashfs-tools", "squashfs-tools"),
    "mmdebstrap": ("mmdebstrap", "mmdebstrap"),
    "qemu-img": ("qemu-utils", "qemu-img"),
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-system-x86-core"),
    "screen": ("screen", "screen"),
    "setpriv": ("util-linux", "util-linux"),
    "sfdisk": ("fdisk", "util-linux"),
    "sh": ("dash", "bash"),
    "ssh": _OPENSSH,
    "ssh-add": _OPENSSH,
    "ssh-keygen": _OPENSSH,
    "ssh-keyscan": _OPENSSH,
    "sudo": ("sudo", "sudo"),
    "systemctl": ("systemd", "systemd"),
    "tar": ("tar", "tar"),
    "tmux": ("tmux", "tmux"),
    "useradd": ("passwd", "shadow-utils"),
    "userdel": ("passwd", "shadow-utils"),
    "vagrant": ("vagrant", "vagrant"),
    "zstd": ("zstd", "zstd"),
}
"""Programs that we start, and the packages of Debian and Fedora, and of what came from them, that have them."""


@dataclass(frozen=True)
class Completed:
    """What a finished program left, here or on another host: its argument list, exit status and what it wrote."""

    argv: tuple[str, ...]
    status: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """Its output as text."""
        return self.output.decode(errors="replace")

    @property
    def ok(self) -> bool:
        """True when the program exited with 0."""
        return self.status == 0


@dataclass(frozen=True)
class Command:
    """What is told of a program that is started: ``words`` that run it by hand, on ``host`` where that is not this one.

    ``source`` says what goes into it, as a shell has it. No word of it is a secret.
    """

    words: Sequence[str]
    host: str = ""
    source: str = ""


def users(argv: Sequence[str]) -> list[str]:
    """Return what is told of a user's own command: its words may be secrets."""
    return [*argv[:1], *(["..."] if argv[1:] else [])]


MOUNTING = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What a program is begun with that mounts this machine's folders elsewhere, as mmdebstrap does with /dev/shm.

All that it has begun ends with it, however it ends, and its mounts with that: whoever takes its folder away takes
away nothing else. Root only.
"""

listener: Callable[[Command, int | None, float], None] | None = None
"""Told of every program that has ended: with its exit status, None where it took our place, and seconds."""


def _told(command: Command, status: int | None, seconds: float) -> None:
    if listener is not None:
        listener(command, status, seconds)


class CommandError(CncpError):
    """A program that had to succeed did not. ``result`` holds what it said."""

    def __init__(self, result: Completed, hint: str = "", message: str = "") -> None:
        said = error_line(result.stderr, result.stdout)
        super().__init__(
            message or f"{shlex.join(result.argv)} {ending(result.status)}" + (f": {said}" if said else ""),
            hint or "run the command by hand to see all of its output",
        )
        self.result = result


def missing(program: str) -> CncpError:
    """Return what to tell of a program that is not there, with the package that has it."""
    return CncpError(*_missing(program))


def _missing(program: str) -> tuple[str, str]:
    name = os.path.basename(program)
    message = f"there is no {program} on this machine"
    if name not in PACKAGES:
        return message, f"install it, or see whether PATH has it: command -v {name}"
    debian, fedora = PACKAGES[name]
    return message, f"install the package {debian}" + (f" (Debian, Ubuntu) or {fedora}" if fedora != debian else "")


def become(
    argv: Sequence[str | os.PathLike[str]], env: Mapping[str, str] | None = None, told: Command | None = None
) -> NoReturn:
    """Let a program take the place of this one: its exit code, its terminal and its signals are our caller's.

    ``env`` is all of its environment; without it, what of ours counts for it. ``told`` is what is
    told of it. Raises CommandError where it cannot be started.
    """
    words = [os.fspath(word) for word in argv]
    around = surroundings.without(words, os.environ) if env is None else env
    sys.stdout.flush()
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        # Python ignores these, and what is ignored stays so over an exec: `yes | head` would complain.
        signal.signal(number, signal.SIG_DFL)
    _told(told or Command(words), None, 0.0)
    try:
        os.execvpe(words[0], words, dict(around))
    except OSError as error:
        raise CommandError(Completed(tuple(words), 126, b"", str(error))) from None


_ERROR = re.compile(r"(\[[^]]*\] ?)?(\S+: )?((?i:error|fatal|critical)\b[^:]{0,40}:|E: )")
"""How programs begin the line that says what is wrong: "fatal: ...", "E: ...", "[date] FATAL: ..."."""


def error_line(*said: str) -> str:
    """Return the line of what a program said that tells its error; the last one where none is marked.

    ``said`` is its streams, the one that counts for more first. Many programs go on after the error,
    with how they are used, or with what they could do no more because of it; so the first one counts.
    """
    streams = [[line.strip() for line in output.splitlines() if line.strip()] for output in said]
    marked = [line for stream in streams for line in stream if _ERROR.match(line)]
    return next(iter(marked), next((stream[-1] for stream in streams if stream), ""))


def ending(status: int) -> str:
    """Say in words how a program with this ``subprocess`` return code ended."""
    if status >= 0:
        return f"exited with {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class Process(subprocess.Popen[bytes]):
    """A program that runs, as `begin` has started it."""

    told: Command | None = None
    began = 0.0

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, as of any Popen."""
        status = super().wait(timeout)
        self._tell()
        return status

    def poll(self) -> int | None:
        """Return its exit status, None while it runs, as of any Popen."""
        status = super().poll()
        self._tell()
        return status

    def _tell(self) -> None:
        told, self.told = self.told, self.told if self.returncode is None else None
        if told is not None and self.told is None:
            _told(told, self.returncode, time.monotonic() - self.began)

    def ended(self, seconds: float | None = None) -> int | None:
        """Wait for its end, up to ``seconds``; return its exit status, None where it still runs then."""
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, patience: float) -> None:
        """Have it end, by force where it has not after ``patience`` seconds."""
        self.terminate()
        if self.ended(patience) is None:
            self.kill()
            self.wait()


PIPE, NOTHING = subprocess.PIPE, subprocess.DEVNULL
"""What a program's stream is joined to, beside a file: this process, or nothing. None is our own stream."""

Stream = int | IO[bytes] | None


def _started(words: Sequence[str], told: Command | None, **how: Any) -> Process:
    command, began = told or Command(words), time.monotonic()
    try:
        process = Process(words, **how)
    except OSError as error:
        _told(command, 127 if isinstance(error, FileNotFoundError) else 126, 0.0)
        raise
    process.told, process.began = command, began
    return process


def begin(
    argv: Sequence[str | os.PathLike[str]],
    *,
    stdin: Stream = NOTHING,
    stdout: Stream = NOTHING,
    stderr: Stream = NOTHING,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    apart: bool = False,
    first: Callable[[], None] | None = None,
    told: Command | None = None,
) -> Process:
    """Start a program and go on; as a context manager it is waited for, and its pipes are closed.

    ``env`` is as for `become`. With ``apart`` it has a session of its own: what is typed on our terminal, Ctrl-C
    above all, is not for it. ``first`` is called in its process, before it takes the place of that; only where
    this process has one thread. ``told`` is what is told of it, where that is not its words. Raises OSError where
    it cannot be started.
    """
    words = [os.fspath(word) for word in argv]
    around = surroundings.without(words, os.environ) if env is None else dict(env)
    return _started(
        words, told, stdin=stdin, stdout=stdout, stderr=stderr, env=around, cwd=cwd, start_new_session=apart,
        preexec_fn=first,
    )  # fmt: skip


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    check: bool = True,
    input: str | None = None,  # noqa: A002  # as in subprocess
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    user: int | None = None,
    group: int | None = None,
    extra_groups: Sequence[int] | None = None,
    timeout: float | None = None,
    capture: bool = True,
    hint: str = "",
) -> Completed:
    """Run a program to its end.

    ``env`` is added to what of this process's own environment counts for the program (see
    `surroundings`). ``user``, ``group`` and ``extra_groups``
    are numeric ids to run under (root only). ``timeout`` is in seconds. With ``capture`` False
    the program writes to our own terminal. Raises CommandError when the program cannot be
    started, does not end in time or, with ``check``, does not exit with 0.
    """
    words = tuple(os.fspath(word) for word in argv)
    around = {**surroundings.without(words, os.environ), **(env or {})}
    stdin = PIPE if input is not None else NOTHING if capture else None
    out = PIPE if capture else None
    try:
        with _started(
            words, None, stdin=stdin, stdout=out, stderr=out, env=around, cwd=cwd,
            user=user, group=group, extra_groups=extra_groups,
        ) as process:  # fmt: skip
            try:
                said, complained = process.communicate(None if input is None else input.encode(), timeout)
            except BaseException:
                process.kill()
                raise
    except FileNotFoundError as error:
        gone = Completed(words, 127, b"", str(error))
        if error.filename != words[0]:
            # The folder to run it in, or the interpreter of a script.
            raise CommandError(gone, hint) from None
        message, remedy = _missing(words[0])
        known = os.path.basename(words[0]) in PACKAGES
        raise CommandError(gone, remedy if known else hint or remedy, message) from None
    except OSError as error:
        raise CommandError(Completed(words, 126, b"", str(error)), hint) from None
    except subprocess.TimeoutExpired:
        late = f"no end after {timeout:g} s"
        raise CommandError(Completed(words, 124, b"", late), hint) from None
    result = Completed(words, process.returncode, said or b"", (complained or b"").decode(errors="replace"))
    if check and not result.ok:
        raise CommandError(result, hint)
    return result


def new_enough(python: str) -> bool:
    """Tell whether a path is a Python that our code runs by."""
    code = "import sys; sys.exit(sys.version_info < (3, 10))"
    return os.access(python, os.X_OK) and run([python, "-I", "-c", code], check=False).ok
