"""connect: the way to a controller that only ssh reaches."""

from __future__ import annotations

import os
import re

from invoke.context import Context

from cncp.client import background, connect_state
from cncp.client import connect as connecting
from cncp.client.connect_state import Connected
from cncp.client.profile import Profile, folder
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.tasks.options import HOST_KEYS, JSON, QUIET, local_name, one_remote, profile_name
from cncp.tasks.task import command


@command(
    {
        **HOST_KEYS,
        **JSON,
        **QUIET,
        "host": "the controller's machine, as you log in to it",
        "profile": "the profile there",
        "as": "name of the profile here; the same without",
        "ports": "local ports to use, LOW-HIGH, 7 or more; any without",
        "force": "take the place of another cluster's file for that time",
        "background": "go on without the terminal",
        "status": "show what is connected",
        "stop": "end what is connected: one profile (--as), or all",
    }
)
def connect(
    context: Context,
    host: str = "",
    profile: str = "cncp",
    as_: str | None = None,
    ports: str | None = None,
    force: bool = False,
    background: bool = False,
    status: bool = False,
    stop: bool = False,
    host_keys: str = "accept-new",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Have a client here reach a controller through ssh, until Ctrl-C; broken connections are made again."""
    console = Console(quiet=quiet)
    ipython = folder(os.environ)
    if sum((bool(host), status, stop)) != 1:
        raise UsageError("connect needs one of --host, --status and --stop", "begin with: cncp connect --host HOST")
    local = local_name(profile, as_)
    if not host:
        running = connect_state.running(ipython, as_ or "")
        _stop(running, console, as_json=json) if stop else _status(running, console, as_json=json)
        return
    remote = one_remote(host, host_keys)
    if ports is not None:
        _check_ports(ports)
    into = Profile(ipython, local)
    if background:
        words = ["connect", f"--host={host}", f"--profile={profile}", f"--as={local}", f"--host-keys={host_keys}"]
        words += [f"--ports={ports}"] if ports else []
        words += ["--force"] if force else []
        _say(_in_background(words, into), console, as_json=json)
        console.note("end it with: cncp connect --stop")
        return

    def ready(made: Connected) -> None:
        _say(made, console, as_json=json)
        console.note("Ctrl-C ends it")

    connecting.connect(
        remote, profile_name(profile, "--profile"), into, console, ports=ports or "", force=force, ready=ready
    )


def _in_background(words: list[str], into: Profile) -> Connected:
    running = connect_state.running(into.path.parent, into.name)
    if running:
        raise CncpError(
            f"profile {into.name} is connected to {running[0].host} already, by process {running[0].pid}",
            "end that first: cncp connect --stop",
        )
    return background.start(words, into)


def _check_ports(ports: str) -> None:
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", ports)
    if not match or not 1024 <= int(match[1]) <= int(match[2]) - connecting.NEEDED + 1 or int(match[2]) > 65535:
        raise UsageError(
            f"command line: --ports {ports!r} is not possible",
            f"give a range LOW-HIGH of at least {connecting.NEEDED} ports from 1024 to 65535",
        )


def _say(made: Connected, console: Console, *, as_json: bool) -> None:
    if as_json:
        console.data(made)
        return
    console.say(f"connected to {made.host} · profile {made.profile} · local ports {made.ports[0]}-{made.ports[-1]}")
    console.say(f"next: python: ipyparallel.Client(profile={made.profile!r})")


def _status(running: list[Connected], console: Console, *, as_json: bool) -> None:
    if as_json:
        console.data(running)
    elif running:
        rows = [[way.profile, way.host, str(way.pid), way.state, str(way.reconnected), way.said] for way in running]
        console.table(["PROFILE", "HOST", "PID", "STATE", "RECONNECTED", "LAST WORDS"], rows)
    else:
        console.say("nothing is connected")


def _stop(running: list[Connected], console: Console, *, as_json: bool) -> None:
    for way in running:
        background.stop(way)
    if as_json:
        console.data({"stopped": [way.profile for way in running]})
    else:
        console.say(f"ended: {', '.join(way.profile for way in running)}" if running else "nothing is connected")


__all__ = ["connect"]
