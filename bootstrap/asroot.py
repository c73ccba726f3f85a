"""Run by root, with root's own Python: what is an account's is done as the account, and little else as root.

    python3 -I -B bootstrap/asroot.py run ACCOUNT COMMAND...    the command as the account, with root at hand
    python3 -I -B bootstrap/asroot.py serve ACCOUNT             root at hand, until standard input ends

Root at hand is a socket, which CNCP_ROOT names: over it the account asks for one of the few things that
`cncp.machine.root.step` does. Constraints: the standard library alone, Python 3.10 or newer; no file
of the account's is opened here before all rights are dropped, and none is ever run by root.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import contextlib
import pwd
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence

from cncp.accounts import Account
from cncp.errors import CncpError
from cncp.machine.root import step

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_OF_ROOT = ("XDG_", "SSH_", "DBUS_", "IPYTHONDIR", "JUPYTER_", "MAIL", "XAUTHORITY", "PYTHON", "LD_")
"""What root's environment says of root's own places, sessions and programs."""


@contextlib.contextmanager
def _listening(account: Account) -> Iterator[str]:
    """Listen where the account alone can connect."""
    parent = "/run" if os.path.isdir("/run") else None
    folder = tempfile.mkdtemp(prefix="cncp-root.", dir=parent)
    try:
        os.chmod(folder, 0o711)  # noqa: S103  # entered by the account, and read by root alone
        path = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.bind(path)
            os.chown(path, account.uid, account.gid)
            os.chmod(path, 0o600)
            made.listen(8)
            threading.Thread(target=step.serve, args=(account, made), daemon=True).start()
            yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _become(account: Account, path: str) -> None:
    """Drop every right of root's for good, and all that is root's in the environment."""
    # Without a terminal that controls it, a process cannot type into root's.
    os.setsid()
    os.initgroups(account.name, account.gid)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    for name in [variable for variable in os.environ if variable.startswith(_OF_ROOT)]:
        del os.environ[name]
    os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
    os.environ.update(CNCP_USER=account.name, CNCP_ROOT=path, CNCP_BY_ROOT="true")
    if not os.access(".", os.R_OK | os.X_OK):
        os.chdir("/")
    # What root had open beside the usual three is not the account's.
    os.closerange(3, 65536)


def _run(account: Account, command: Sequence[str]) -> int:
    """Run a command as the account to its end; return its exit code."""
    # Forked before there is a thread; it waits until root is at hand.
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(writing)
            path = os.read(reading, 4096).decode()
            if not path:
                os._exit(1)
            _become(account, path)
            os.execvp(command[0], list(command))
        except OSError as error:
            sys.stderr.write(f"error: {command[0]} cannot be run as {account.name}: {error.strerror}\n")
            sys.stderr.write("hint: name a Python that the account can run with --python, or leave it out\n")
        finally:
            os._exit(126)
    os.close(reading)
    for forwarded in _FORWARDED:
        signal.signal(forwarded, lambda number, _: _kill(child, number))
    with _listening(account) as path:
        os.write(writing, path.encode())
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - status if status < 0 else status


def _kill(child: int, number: int) -> None:
    """Pass a signal on to the command and, as a terminal does, to what it has begun."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, number)


def _serve(account: Account) -> int:
    """Be at hand until standard input ends; the first line of the output says where."""
    # What a terminal sends is meant for who has asked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _listening(account) as path:
        sys.stdout.write(f"{path}\n")
        sys.stdout.flush()
        os.close(1)
        while os.read(0, 4096):
            pass
    return 0


def main(argv: Sequence[str]) -> int:
    """Do what a command line asks for; return the exit code."""
    try:
        verb, name, *command = argv
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        sys.stderr.write("error: asroot.py: run ACCOUNT COMMAND... or serve ACCOUNT\nhint: see its docstring\n")
        return 2
    account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    try:
        status = _serve(account) if verb == "serve" else _run(account, command)
        step.leave(account)
        return status
    except (CncpError, OSError) as error:
        sys.stderr.write(f"error: root's step: {error}\nhint: mend that, then run this again\n")
        return 1


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("error: asroot.py is for root\nhint: run cncp itself")
    sys.exit(main(sys.argv[1:]))
