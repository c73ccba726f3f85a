"""What tasks share: options that are checked, hosts that are named, a report a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cncp.config import selection, settings
from cncp.config.inventory import LOCAL, HostSpec
from cncp.console import Console
from cncp.errors import CncpError, UsageError, plural
from cncp.ssh.connection import Remote
from cncp.ssh.pool import Outcome, SomeHostsFailed, tell
from cncp.tasks import scenes

JSON = {"json": "print the result as JSON"}
QUIET = {"quiet": "print no progress"}
VERBOSE = {"verbose": "say how long each phase takes"}
HOST_KEYS = {"host-keys": "accept-new or strict: refuse hosts whose ssh key is not known yet"}
CLUSTER_FILE = {"file": "cluster.toml to read (CNCP_FILE)"}
FILE = {"file": "cluster.toml, or list of hosts, to read (CNCP_FILE)"}
HOSTS = {**CLUSTER_FILE, "limit": "these hosts of the cluster alone: gold2,gold[4-6]"}
SERVICES = {"name": "services, as `status` shows them: engine-0,engine-1; all without"}
BUSY = {
    "wait": "seconds to wait for engines that are busy",
    "force": "go on although engines are busy; their tasks are lost",
}
FORGET = {"forget": "leave out what earlier command lines said"}


def profile_name(name: str, option: str) -> str:
    """Check the name of a profile."""
    return str(settings.parse("profile", name, f"command line: {option}"))


def local_name(profile: str, named: str | None) -> str:
    """Return the name of a profile here: that of --as, or the one it has there. Raises UsageError."""
    return profile_name(profile, "--profile") if named is None else profile_name(named, "--as")


def is_strict(host_keys: str) -> bool:
    """Read --host-keys. Raises UsageError."""
    if host_keys not in ("accept-new", "strict"):
        raise UsageError(
            f"command line: --host-keys {host_keys!r} is not possible",
            "it must be accept-new or strict; a host key that has changed is always refused",
        )
    return host_keys == "strict"


def one_remote(host: str, host_keys: str) -> Remote:
    """Return the one host that --host names, not connected yet. Raises UsageError.

    A host of the cluster in use is reached as its cluster.toml says.
    """
    strict = is_strict(host_keys)
    specs = selection.named(host, scenes.inventory(scenes.asked(None)), "command line: --host")
    if len(specs) != 1:
        raise UsageError(
            f"command line: --host {host} is {plural(len(specs), 'host')}", "name the one with the controller"
        )
    if specs[0].local:
        raise UsageError(
            f"command line: {specs[0].name} is this machine, whose profiles need no copy",
            "name the controller's machine as you log in to it",
        )
    return Remote(specs[0], strict=strict)


def remote_hosts(hosts: str, file: str | None) -> tuple[HostSpec, ...]:
    """Return the hosts that --hosts names, or all others of cluster.toml. Raises UsageError."""
    if hosts and file:
        raise UsageError("command line: --hosts and --file contradict each other", "name the hosts, or the file")
    if hosts:
        specs = selection.named(hosts, scenes.inventory(scenes.asked(None)))
        if any(spec.local for spec in specs):
            raise UsageError(f"command line: --hosts: {LOCAL} is this machine", "leave it out")
        return specs
    found = scenes.inventory(scenes.asked(file))
    if not found.named:
        raise UsageError("there is no list of hosts", "name them: --hosts 'gold[2-7],ada@x', or --file cluster.toml")
    return tuple(spec for spec in found.everyone if not spec.local)


def count(specs: Sequence[HostSpec]) -> str:
    """Say how many hosts there are, or the name of the one."""
    return specs[0].name if len(specs) == 1 else plural(len(specs), "host")


def report(console: Console, specs: Sequence[HostSpec], outcome: Outcome[str], *, again: str, as_json: bool) -> None:
    """Print a line a host; raise SomeHostsFailed, naming the option ``again``, where there were failures."""
    failures: Mapping[str, CncpError] = outcome.failures
    if as_json:
        console.data(
            {
                "done": dict(outcome.results),
                "failed": {name: {"error": error.message, "hint": error.hint} for name, error in failures.items()},
            }
        )
    else:
        for spec in specs:
            if spec.name in outcome.results:
                console.say(f"[{spec.name}] {outcome.results[spec.name]}")
    tell(failures, console)
    if failures:
        raise SomeHostsFailed(failures, len(specs), again)
