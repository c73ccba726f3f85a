"""What a service has of whatever starts it: one table, the same under all service managers.

systemd, supervisord, a terminal in tmux or screen, and those beneath, whoever ran ``cncp up`` and cron
at boot, hand down an environment, limits, signals, a umask and a standard input of their own. Users'
code would see all of it. ``begin`` gives a service its environment, and HANDED_DOWN the rest.

Standard library only, and little of it: it runs before anything else of a service.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import resource
import shlex
import signal
import sys
import termios

# Each service begins twice, and all that is imported the first time is time in which no engine starts: no
# dataclasses, no typing, no pathlib, which are half of it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

MARK = "CNCP_SERVICE"
"""The variable by which what a service has started is known as its own: NAME PID HOME."""

LOGIN = "login.json"
"""What the account's own login has, in CNCP_HOME: ``cncp.machine.login_environment`` writes it."""

PRIVATE = ("cidd", "controller", "dnsmasq", "tunnel")
"""Kinds that run no code of users': what they write is readable by the account alone."""

OPEN_FILES = 65536
OOM_SCORE = 500  # an engine goes alone when memory runs out: its neighbours and the controller stay

_PLAIN_PATH = "/usr/local/bin:/usr/bin:/bin"
_PLAIN_UMASK = 0o022

# What systemd itself, or the login that talked to it last, puts into the environment of units.
_NOT_OF_UNITS = re.compile(
    r"CNCP_.*|SUPERVISOR_.*|PYTHON.*|VIRTUAL_ENV.*|CONDA.*|TMUX.*|STY|WINDOW|TERM.*|DISPLAY|WAYLAND_.*|XAUTHORITY"
    r"|SSH_.*|SUDO_.*|XDG_SESSION_.*|XDG_SEAT|XDG_VTNR|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|MANAGERPID"
    r"|NOTIFY_SOCKET|LISTEN_.*|MEMORY_PRESSURE_.*|PWD|OLDPWD|SHLVL|_|LS_COLORS|MAIL"
)


class Service:
    """What the table needs to know: the kind, the account's home, and what keeps the service."""

    def __init__(self, kind: str, home: str, manager: str, umask: int) -> None:
        self.kind, self.home, self.manager, self.umask = kind, home, manager, umask


def begin(arguments: Sequence[str]) -> Service | None:
    """Begin this process anew with its own environment, if it has another; then take over the rest.

    Return what was found, None where there is no cluster to begin with: the service itself says so.
    ``arguments`` are those of ``cncp.serve``: KIND [INSTANCE] --node FILE ...
    """
    try:
        at = arguments.index("--node")
        file = arguments[at + 1]
        name = "-".join(arguments[:at])
        document = json.loads(_content(file))
        login = _read(os.path.join(os.path.dirname(file), LOGIN))
        wanted = environment(document, login, name, os.environ)
        service = Service(arguments[0], document["account"]["home"], document["manager"], _umask(login, arguments[0]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    # Executed again, and not only changed: what is in the environment when a program starts decides
    # about its libraries, and is what others see of it. The mark tells that this was done.
    if os.environ.get(MARK) != wanted[MARK]:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)  # ourselves
    for _, take_over in HANDED_DOWN:
        take_over(service)
    return service


def environment(
    document: Mapping[str, Any], login: Mapping[str, Any], name: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a service of a node: of the account, its login and the settings, and nothing else.

    Under systemd, what a drop-in of the user's own or the manager's configuration adds is there as well.
    """
    account, home = document["account"], document["home"]
    found = {
        "PATH": _PLAIN_PATH,
        "LANG": "C.UTF-8",
        **{str(key): str(value) for key, value in dict(login.get("variables", {})).items()},
        "HOME": account["home"],
        "USER": account["name"],
        "LOGNAME": account["name"],
        "SHELL": _shell(account["uid"]),
        # Left alone, IPython makes itself a folder in the home, wherever the profile is.
        "IPYTHONDIR": os.path.dirname(document["profile_dir"]),
        "VIRTUAL_ENV": f"{home}/venv",
    }
    runtime = f"/run/user/{account['uid']}"
    if os.path.isdir(runtime):
        found["XDG_RUNTIME_DIR"] = runtime
    if document["manager"] == "systemd":
        added = {key: value for key, value in inherited.items() if not _NOT_OF_UNITS.fullmatch(key)}
        found = {**added, **found}
    if name.partition("-")[0] == "engine":
        found.update(variables(document["settings"].get("environment", "none")))
    # Programs of the packages that engines import, and the Python that they are of.
    found["PATH"] = f"{home}/venv/bin:{found['PATH']}"
    found[MARK] = mark(name, os.getpid(), home)
    return found


def mark(name: str, pid: int, home: str) -> str:
    """Return the value of MARK of a process of a service."""
    return f"{name} {pid} {home}"


def variables(setting: str) -> dict[str, str]:
    """Return the variables of the setting ``environment`` by name; of a file, where it names one: @FILE."""
    try:
        text = _content(setting[1:]).decode() if setting.startswith("@") else setting
        return dict(word.partition("=")[::2] for word in shlex.split(text) if text != "none")
    except (OSError, ValueError):
        # Lost or damaged: `cncp up` writes it again.
        return {}


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _read(path: str) -> dict[str, Any]:
    try:
        value = json.loads(_content(path))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _shell(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_shell or "/bin/sh"
    except KeyError:
        return "/bin/sh"


def _umask(login: Mapping[str, Any], kind: str) -> int:
    if kind in PRIVATE:
        return 0o077
    umask = login.get("umask")
    return umask if isinstance(umask, int) and 0 <= umask <= 0o777 else _PLAIN_UMASK


def _take_no_input(_: Service) -> None:
    """Read nothing: a program in a task that asks would wait for ever, or read from a terminal."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)


def _close_others(_: Service) -> None:
    """Hold nothing open that somebody else has opened."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _leave_terminal(_: Service) -> None:
    """Have no terminal, and a process group of one's own: what a task starts is in it."""
    if os.getpgrp() != os.getpid():
        os.setsid()
        return
    # A leader of a group cannot leave its session, but its terminal.
    with contextlib.suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
        os.close(terminal)


def _hear_signals(_: Service) -> None:
    """Ignore and block no signal: supervisord blocks one, and a shell's background ignores some."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Those that Python itself ignores; it lets no other program have that of it.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _set_umask(service: Service) -> None:
    """Let files be as the account's login has them; private where no code of users' writes them."""
    os.umask(service.umask)


def _open_many_files(service: Service) -> None:
    """Open as many files as may be opened; a controller needs several an engine. More only by a unit's own drop-in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft < most or service.manager != "systemd":
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _be_as_important(service: Service) -> None:
    """Have the usual priority, where the account may raise it; a unit's own drop-in may say otherwise."""
    if service.manager != "systemd" and os.getpriority(os.PRIO_PROCESS, 0) > 0:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)


def _go_first(service: Service) -> None:
    """Let an engine be what the kernel ends when memory runs out, as OOMScoreAdjust= of its unit does."""
    score = "/proc/self/oom_score_adj"
    if service.kind == "engine" and service.manager != "systemd":
        with contextlib.suppress(OSError, ValueError):
            if int(_content(score)) < OOM_SCORE:
                with open(score, "w") as file:
                    file.write(str(OOM_SCORE))


def _go_home(service: Service) -> None:
    """Be in the same place whoever started the service, and from wherever."""
    os.chdir(service.home)


HANDED_DOWN: tuple[tuple[str, Callable[[Service], None]], ...] = (
    ("standard input", _take_no_input),
    ("open files of others", _close_others),
    ("terminal and process group", _leave_terminal),
    ("signals", _hear_signals),
    ("umask", _set_umask),
    ("limit of open files", _open_many_files),
    ("priority", _be_as_important),
    ("who goes when memory runs out", _go_first),
    ("working folder", _go_home),
)
"""All that is taken over, beside the environment. Other limits (core, memory, processes) are left: they are the
administrator's, and the account's own."""
