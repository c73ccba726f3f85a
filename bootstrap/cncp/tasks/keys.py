"""keys.*: who may log in to the hosts, and who may use the cluster."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from invoke.context import Context

from cncp import attributes, cluster, inventory
from cncp.access import authorize as authorizing
from cncp.access import copy as copying
from cncp.access import rotate as rotating
from cncp.access import show as showing
from cncp.access import sshkey
from cncp.access.profile import Profile, folder
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.fleet.crew import Outcome, SomeHostsFailed
from cncp.fleet.ssh import KEY, Remote
from cncp.inventory import HostSpec
from cncp.machine import place
from cncp.machine.node import Node, installed
from cncp.tasks.command import command

JSON = {"json": "print the result as JSON"}
QUIET = {"quiet": "print no progress"}
HOST_KEYS = {"host-keys": "accept-new or strict: refuse hosts whose ssh key is not known yet"}
FILE = {"file": "cluster.toml, or list of hosts, to read (CNCP_FILE)"}


@command({**JSON, **QUIET, "no-passphrase": "make a key that anybody who reads the file can use"})
def generate(context: Context, no_passphrase: bool = False, json: bool = False, quiet: bool = False) -> None:
    """Make an ssh key for cncp alone, ~/.ssh/cncp_ed25519; one that is there stays."""
    console = Console(quiet=quiet)
    folder(os.environ)
    made = sshkey.generate(os.environ, passphrase=not no_passphrase, say=console.phase)
    if json:
        shown = {"path": str(made.path), "fingerprint": made.fingerprint, "new": made.new, "in_agent": made.in_agent}
        console.data(shown)
        return
    console.say(f"{made.path}: {made.fingerprint}" + ("" if made.new else " (was there already)"))
    if made.in_agent:
        console.say("the ssh-agent holds it")
    elif not no_passphrase:
        console.say(f'no ssh-agent holds it: eval "$(ssh-agent)" && ssh-add ~/{KEY}')
    console.say("next: invoke keys.authorize --hosts HOST")


@command(
    {
        **FILE,
        **HOST_KEYS,
        **JSON,
        **QUIET,
        "hosts": "names such as gold[2-7],ada@x; those of cluster.toml without",
        "key": "public key to put there; ~/.ssh/cncp_ed25519.pub without",
    }
)
def authorize(
    context: Context,
    hosts: str = "",
    file: str | None = None,
    key: str = "",
    host_keys: str = "accept-new",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Have hosts let us in with the key; a password is asked for once, and used for all."""
    console = Console(quiet=quiet)
    folder(os.environ)
    strict = is_strict(host_keys)
    specs = remote_hosts(hosts, file)
    public = sshkey.public_key(key)
    console.phase(f"logging in to {_count(specs)}")
    verify = not key and sshkey.usable()
    outcome = authorizing.authorize(specs, public, _ask, strict=strict, verify=verify)
    report(console, specs, outcome, again="--hosts", as_json=json)


def _ask(names: Sequence[str]) -> str:
    if not sshkey.has_terminal():
        raise CncpError(
            "it asks for a password, and there is no terminal to ask on", "run this in a terminal: it asks once for all"
        )
    return getpass.getpass(f"password on {', '.join(names) if len(names) <= 5 else f'{len(names)} hosts'}: ")


@command(
    {
        **HOST_KEYS,
        **JSON,
        **QUIET,
        "host": "the controller's machine, as you log in to it",
        "profile": "the profile there",
        "address": "dial the controller at this address and no other",
        "as": "name of the profile here; the same without",
        "force": "replace another cluster's file; it is kept beside",
    }
)
def copy(
    context: Context,
    host: str,
    profile: str = "cncp",
    address: str | None = None,
    as_: str | None = None,
    force: bool = False,
    host_keys: str = "accept-new",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Fetch what a client needs from the controller's machine, and make it work from here."""
    console = Console(quiet=quiet)
    into = Profile(folder(os.environ), local_name(profile, as_))
    remote = one_remote(host, host_keys)
    if address is not None:
        cluster.parse("external", address, "command line: --address")
    done = copying.copy(remote, profile_name(profile, "--profile"), into, console, address=address or "", force=force)
    if json:
        console.data(done.document())
        return
    if done.backup:
        console.say(f"the former file is kept: {done.backup}")
    console.say(f"wrote {done.path}" if done.changed else "nothing to change")
    console.say(f"cluster {done.fingerprint} at {done.address} · profile {done.profile}")
    console.say(f"next: python: ipyparallel.Client(profile={done.profile!r})")


@command({**JSON, "profile": "one profile; all without"})
def show(context: Context, profile: str = "", json: bool = False) -> None:
    """Show which clusters' keys are here: fingerprints, addresses and ages, never a key."""
    console = Console()
    who = place.account(os.environ)
    found = showing.show(place.ipython_folder(os.environ, who), profile_name(profile, "--profile") if profile else "")
    if profile and not found:
        raise CncpError(f"profile {profile} has no keys here", "invoke keys.copy --host HOST, or keys.show for all")
    if json:
        console.data([one.document() for one in found])
    elif found:
        console.table(showing.HEADER, showing.rows(found))
    else:
        console.say("no keys here")
    for one in found:
        if not one.private:
            console.warn(f"others may read the {one.holds} file of profile {one.profile}: chmod 600")


_WAIT = 3600
"""Seconds that a rotation waits for tasks unless told otherwise."""


@command(
    {
        **FILE,
        **HOST_KEYS,
        **JSON,
        **QUIET,
        "wait": "seconds that tasks have to end; an hour without",
    }
)
def rotate(
    context: Context,
    wait: str = "",
    file: str | None = None,
    host_keys: str = "accept-new",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Make new keys once all tasks are done; whoever holds the old ones is shut out."""
    patience = _seconds(wait) if wait else _WAIT
    _rotate(file, host_keys, Console(quiet=quiet), patience=patience, as_json=json)


@command(
    {
        **FILE,
        **HOST_KEYS,
        **JSON,
        **QUIET,
        "yes": "ask nothing",
        "host": "take our ssh key from these hosts instead, such as gold[2-7]",
    }
)
def revoke(
    context: Context,
    host: str = "",
    yes: bool = False,
    file: str | None = None,
    host_keys: str = "accept-new",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Make all connection files there are useless at once, tasks or not; or take our ssh key from a host."""
    console = Console(quiet=quiet)
    if host:
        folder(os.environ)
        strict = is_strict(host_keys)
        specs = remote_hosts(host, file)
        outcome = authorizing.withdraw(specs, sshkey.public_key(), strict=strict)
        report(console, specs, outcome, again="--host", as_json=json)
        return
    _controller_node()
    if not yes:
        _confirm("all clients are shut out and running tasks are lost; go on?")
    _rotate(file, host_keys, console, patience=None, as_json=json)


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or len(text) > 7:
        raise UsageError(f"command line: --wait {text!r} is not possible", "give whole seconds, such as 600")
    return float(text)


def _confirm(question: str) -> None:
    if not sshkey.has_terminal():
        raise UsageError(question.partition(";")[0], "say that it is meant: --yes")
    with open("/dev/tty", "r+b", buffering=0) as terminal:
        terminal.write(f"{question} [y/N] ".encode())
        answer = terminal.readline().decode(errors="replace").strip().lower()
    if answer not in ("y", "yes"):
        raise CncpError("nothing was changed", "answer y to go on, or say --yes")


def _controller_node() -> Node:
    node = installed(place.home_folder(os.environ, place.account(os.environ)))
    if not node.controller:
        raise UsageError(
            "this machine has no controller, and so no keys of its own", "run this where the controller is"
        )
    return node


def _rotate(file: str | None, host_keys: str, console: Console, *, patience: float | None, as_json: bool) -> None:
    strict = is_strict(host_keys)
    node = _controller_node()
    found = described(file)
    if found is not None and not found.controller.local:
        raise UsageError(
            f"the cluster of this file has its controller on {found.controller.name}", "run this there, or leave --file"
        )
    others = [spec for spec in found.hosts if not spec.local] if found else []
    done = rotating.rotate(node, others, console, patience=patience, strict=strict)
    if as_json:
        console.data(done.document())
    else:
        for name, what in done.hosts.results.items():
            console.say(f"[{name}] {what}")
        console.say(f"keys {done.before} are void, {done.after} count · {_state(done)}")
        console.say(f"next: cncp status | from your laptop: invoke keys.copy --host {node.location} --force")
    for name, error in done.hosts.failures.items():
        console.warn(f"[{name}] {error.message}: {error.hint}")
    if done.hosts.failures:
        raise SomeHostsFailed(done.hosts.failures, len(others), "")


def _state(done: rotating.Rotated) -> str:
    return f"{done.engines} engines answer" if done.running else "the cluster is down, as it was"


def profile_name(name: str, option: str) -> str:
    """Check the name of a profile."""
    return str(cluster.parse("profile", name, f"command line: {option}"))


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
    """Return the one host that --host names, not connected yet. Raises UsageError."""
    strict = is_strict(host_keys)
    specs = inventory.named(host, "command line: --host")
    if len(specs) != 1:
        raise UsageError(f"command line: --host {host} is {len(specs)} hosts", "name the one with the controller")
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
        specs = inventory.named(hosts, "command line: --hosts")
        if any(spec.local for spec in specs):
            raise UsageError(f"command line: --hosts: {inventory.LOCAL} is this machine", "leave it out")
        return specs
    found = described(file)
    if found is None:
        raise UsageError("there is no list of hosts", "name them: --hosts 'gold[2-7],ada@x', or --file cluster.toml")
    return tuple(spec for spec in found.everyone if not spec.local)


def described(file: str | None) -> inventory.Inventory | None:
    """Return the hosts of the cluster.toml that counts here; None where it names none."""
    home = place.home_folder(os.environ, place.account(os.environ))
    path = attributes.find_file(file, os.environ, attributes.kept(home), Path.cwd())
    return attributes.read(path)[1]


def _count(specs: Sequence[HostSpec]) -> str:
    return specs[0].name if len(specs) == 1 else f"{len(specs)} hosts"


def report(console: Console, specs: Sequence[HostSpec], outcome: Outcome[str], *, again: str, as_json: bool) -> None:
    """Print a line a host; raise SomeHostsFailed, naming the option ``again``, where there were failures."""
    failures: Mapping[str, CncpError] = outcome.failures
    if as_json:
        console.data(
            {
                "done": dict(outcome.results),
                "failed": {name: {"error": one.message, "hint": one.hint} for name, one in failures.items()},
            }
        )
    for spec in specs:
        if spec.name in outcome.results and not as_json:
            console.say(f"[{spec.name}] {outcome.results[spec.name]}")
        elif spec.name in failures:
            console.warn(f"[{spec.name}] {failures[spec.name].message}: {failures[spec.name].hint}")
    if failures:
        raise SomeHostsFailed(failures, len(specs), again)


__all__ = ["authorize", "copy", "generate", "revoke", "rotate", "show"]
