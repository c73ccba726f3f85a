"""supervisord, from the virtualenv: where systemd does not run the machine or serve the user."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cncp import remote
from cncp.config.sources import SOURCE
from cncp.errors import CncpError, PreflightError
from cncp.machine.node import Node
from cncp.machine.resources import Directory, File, Resource
from cncp.machine.services import crontab
from cncp.machine.services.base import ServiceManager, ServiceState, command, exit_in_words, forget_exits, sweep
from cncp.machine.services.kinds import split
from cncp.machine.services.login_session import begin
from cncp.machine.services.processes import as_recorded
from cncp.surroundings import PYTHON
from cncp.waiting import wait_until

_MAX_SOCKET_PATH = 107  # bytes in sun_path without the closing NUL: unix(7)
_BESIDE = ".99999999"  # what supervisord makes first, to have it in place at once

_AT_REST = ("STOPPED", "FATAL", "UNKNOWN")  # what stays as it is: supervisor.states, less EXITED
_STARTED_AGAIN = 10  # s until supervisord has started again what has ended: it looks each second
_NO_ENDING = 10**9  # supervisord's way to say "never give up": a number of tries


def _configuration(node: Node) -> Path:
    return Path(node.home) / "supervisor" / "supervisord.conf"


def _daemon(node: Node) -> list[str]:
    return [str(node.python), *PYTHON, *remote.command("supervisord", "-c", str(_configuration(node)))]


def _socket(node: Node) -> Path:
    return node.run_dir / "supervisor.sock"


def _words(argv: Sequence[str]) -> str:
    """Return a command as supervisord reads it: what would be expanded, or begin a comment, is neither."""
    # Both are found before quotes are looked at. Two quotes within a quoted word end nothing.
    return shlex.join(argv).replace("%", "%%").replace(" ;", " '';").replace(" #", " ''#")


def _identity() -> str:
    """Return what a supervisord says of itself that was started with this configuration and code."""
    content = _MAIN + (SOURCE / "bootstrap" / "cncp" / "supervisord.py").read_text()
    return "cncp-" + hashlib.sha256(content.encode()).hexdigest()[:12]


_MAIN = """\
; Rendered by cncp; written again by every `cncp up`. Names of files are below HOME/run, where cncp.supervisord
; goes: supervisord expands, strips and splits what a path may hold.
[supervisord]
identifier = {identity}
logfile = supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = supervisord.pid
umask = 077
childlogdir = .
; As few as may be: services raise their own limit, and supervisord its (cncp.supervisord).
minfds = 64
minprocs = 1

[unix_http_server]
file = supervisor.sock
; Whoever can talk to supervisord can run commands as this user.
chmod = 0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
; Relative to this file: an absolute path would be split at its spaces.
files = programs/*.conf
"""


def _program(node: Node, name: str, digest: str) -> str:
    settings = node.settings
    return f"""\
; Rendered by cncp; written again by every `cncp up`.
[program:{name}]
command = {_words(command(node, name, digest))}
autorestart = true
; An engine that has lived half a second has started; it is started again however often it ends.
startsecs = 0
startretries = {_NO_ENDING}
stopasgroup = true
killasgroup = true
stopwaitsecs = 10
redirect_stderr = true
stdout_logfile = {name}.out
stdout_logfile_maxbytes = {settings.log_size}MB
stdout_logfile_backups = {settings.log_keep}
"""


class Supervisor(ServiceManager):
    """A supervisord of the login user's own."""

    name: ClassVar = "supervisor"
    keeps_output: ClassVar = True

    @classmethod
    def insist(cls, node: Node) -> None:
        """Hold that the path of its socket is none too long."""
        if len(str(_socket(node)) + _BESIDE) > _MAX_SOCKET_PATH:
            raise PreflightError(
                f"{node.home} is too long a path for supervisord's socket", "set CNCP_HOME to a shorter one"
            )

    @classmethod
    def files(cls, node: Node, services: Mapping[str, str]) -> Iterator[Resource]:
        """Yield supervisord's configuration and one file a service."""
        folder = _configuration(node).parent
        yield Directory(str(folder), 0o700, "units")
        yield Directory(str(folder / "programs"), 0o700, "units")
        yield File(str(_configuration(node)), 0o600, "units", content=_MAIN.format(identity=_identity()))
        for name, digest in services.items():
            path = str(folder / "programs" / f"{name}.conf")
            yield File(path, 0o600, split(name)[0], content=_program(node, name, digest))

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call supervisord; None where none runs."""
        # Not at the top: under systemd no command needs it.
        from xmlrpc.client import ServerProxy

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{_socket(self._node)}")
        proxy = ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except (ConnectionError, FileNotFoundError):
            return None
        finally:
            transport.close()

    def states(self) -> dict[str, ServiceState]:
        """Ask supervisord about all programs in one call."""
        endings = self._endings()
        found = {}
        for info in self._call("getAllProcessInfo") or ():
            name = str(info["name"])
            running = info["statename"] in ("STARTING", "RUNNING", "BACKOFF")
            pid = int(info["pid"]) if running else 0
            digest = as_recorded(self._node, pid).digest
            ended = endings.get(name, [])
            last = ended[-1] if ended else ""
            found[name] = ServiceState(name, running, pid, len(ended), last, digest)
        return found

    def keepers(self) -> set[int]:
        """Return supervisord, if it is one that answers."""
        pid = self._call("getPID")
        return {int(pid)} if pid else set()

    def _endings(self) -> dict[str, list[str]]:
        """Read from supervisord's log how services ended since they were last started by hand."""
        pattern = re.compile(
            r" (?:exited: (?P<exited>\S+) \((?P<how>exit status (?P<status>\d+)|terminated by SIG(?P<signal>\w+)).*"
            r"|stopped: (?P<stopped>\S+) )"
        )
        found: dict[str, list[str]] = {}
        try:
            log = (self._node.run_dir / "supervisord.log").read_text(errors="replace")
        except FileNotFoundError:
            return found
        for line in log.splitlines():
            match = pattern.search(line)
            if match and match["stopped"]:
                found.pop(match["stopped"], None)
            elif match:
                code = "killed" if match["signal"] else "exited"
                status = match["signal"] or match["status"]
                found.setdefault(match["exited"], []).append(exit_in_words(f"0 signal {code} {status}"))
        return found

    def reload(self) -> None:
        """Have supervisord read its configuration again; start it where it does not run.

        Programs that changed are stopped and started with their new configuration by
        ``addProcessGroup``; those that did not are left alone.
        """
        found = self._call("getIdentification")
        if found is not None and found != _identity():
            # Of an earlier version, which reads its own configuration only when it begins.
            self._shut_down()
            found = None
        if found is None:
            self._actor.run([*begin(self._node), *_daemon(self._node)])
            return
        added, changed, removed = self._call("reloadConfig")[0]
        for name in (*changed, *removed):
            self._stop(name)
            self._quietly("removeProcessGroup", name)
        for name in (*changed, *added):
            self._quietly("addProcessGroup", name)

    def _stop(self, name: str) -> None:
        """Stop a program for good.

        One that has just ended by itself does not run, so supervisord stops nothing, and starts it again a moment
        later: that is waited for, and stopped.
        """

        def is_stopped() -> bool:
            self._quietly("stopProcess", name, True)
            found = self._call("getAllProcessInfo") or ()
            return all(info["statename"] in _AT_REST for info in found if info["name"] == name)

        wait_until(is_stopped, _STARTED_AGAIN)

    def _quietly(self, method: str, *arguments: Any) -> None:
        from xmlrpc.client import Fault

        try:
            self._call(method, *arguments)
        except Fault as fault:
            # Already in the state asked for: supervisor.xmlrpc.Faults.
            if fault.faultString.partition(":")[0] not in (
                "NOT_RUNNING",
                "ALREADY_STARTED",
                "BAD_NAME",
                "ALREADY_ADDED",
            ):
                raise CncpError(
                    f"supervisord refused {method}{arguments}: {fault.faultString}",
                    f"look at {self._node.run_dir}/supervisord.log",
                ) from None

    def start(self, services: Mapping[str, str]) -> None:
        """Start programs; those that run are restarted only if they run with another digest."""
        if self._call("getState") is None:
            self.reload()
        states = self.states()
        for name, digest in services.items():
            state = states.get(name)
            if state is not None and state.running and state.digest not in ("", digest):
                self._quietly("stopProcess", name, True)
            self._quietly("startProcess", name, False)

    def stop(self, names: Sequence[str]) -> None:
        """Stop programs and wait until they are down."""
        for name in names:
            self._stop(name)
        sweep(self._node, names)
        forget_exits(self._node, names)

    def persist(self) -> str:
        """Have cron start supervisord at boot."""
        return self.mortal() or crontab.add(self._actor, self._node, _daemon(self._node))

    def forget(self) -> None:
        """End supervisord and take it out of the crontab."""
        super().forget()
        self._shut_down()

    def _shut_down(self) -> None:
        """End supervisord, and wait until it has ended with all that it keeps."""
        # Settings are held against this before there is a virtualenv.
        import psutil

        pid = self._call("getPID")
        if pid:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                self._call("shutdown")
                process.wait(30)

    def attach_command(self, name: str) -> list[str]:
        """Follow the output that supervisord keeps."""
        return ["tail", "-F", str(self._node.run_dir / f"{name}.out")]
