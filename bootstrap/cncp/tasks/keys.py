"""keys.*: who may log in to the hosts, and who may use the cluster."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence

from invoke.context import Context

from cncp import accounts
from cncp.client import authorize as authorizing
from cncp.client import copy as copying
from cncp.client import show as showing
from cncp.client.profile import Profile, folder
from cncp.config import settings
from cncp.console import Console
from cncp.errors import CncpError, plural
from cncp.ssh import user_key
from cncp.ssh.connection import KEY
from cncp.tasks import elsewhere, scenes
from cncp.tasks.key_rotation import WAIT, renew, seconds
from cncp.tasks.options import (
    FILE,
    HOST_KEYS,
    JSON,
    QUIET,
    count,
    is_strict,
    local_name,
    one_remote,
    profile_name,
    remote_hosts,
    report,
)
from cncp.tasks.task import command


@command({**JSON, **QUIET, "no-passphrase": "make a key that anybody who reads the file can use"})
def generate(context: Context, no_passphrase: bool = False, json: bool = False, quiet: bool = False) -> None:
    """Make an ssh key for cncp alone, ~/.ssh/cncp_ed25519; one that is there stays."""
    console = Console(quiet=quiet)
    folder(os.environ)
    made = user_key.generate(os.environ, passphrase=not no_passphrase, say=console.phase)
    if json:
        shown = {"path": str(made.path), "fingerprint": made.fingerprint, "new": made.new, "in_agent": made.in_agent}
        console.data(shown)
        return
    console.say(f"{made.path}: {made.fingerprint}" + ("" if made.new else " (was there already)"))
    if made.in_agent:
        console.say("the ssh-agent holds it")
    elif not no_passphrase:
        console.say(f'no ssh-agent holds it: eval "$(ssh-agent)" && ssh-add ~/{KEY}')
    console.say("next: cncp keys.authorize --hosts HOST")


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
    public = user_key.public_key(key)
    console.phase(f"logging in to {count(specs)}")
    verify = not key and user_key.usable()
    outcome = authorizing.authorize(specs, public, _ask, strict=strict, verify=verify)
    report(console, specs, outcome, again="--hosts", as_json=json)


def _ask(names: Sequence[str]) -> str:
    if not user_key.has_terminal():
        raise CncpError(
            "it asks for a password, and there is no terminal to ask on", "run this in a terminal: it asks once for all"
        )
    try:
        password = getpass.getpass(
            f"password on {', '.join(names) if len(names) <= 5 else plural(len(names), 'host')}: "
        )
    except EOFError:
        password = ""
    if not password:
        raise CncpError("no password was given", "run this again and give it")
    return password


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
        settings.parse("external", address, "command line: --address")
    done = copying.copy(remote, profile_name(profile, "--profile"), into, console, address=address or "", force=force)
    if json:
        console.data(done)
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
    account = accounts.account(os.environ)
    found = showing.show(
        accounts.ipython_folder(os.environ, account), profile_name(profile, "--profile") if profile else ""
    )
    if profile and not found:
        raise CncpError(f"profile {profile} has no keys here", "cncp keys.copy --host HOST, or keys.show for all")
    if json:
        console.data(found)
    elif found:
        console.table(showing.HEADER, showing.rows(found))
    else:
        console.say("no keys here")
    for profile_keys in found:
        if not profile_keys.private:
            console.warn(f"others may read the {profile_keys.holds} file of profile {profile_keys.profile}: chmod 600")


@command(
    {
        **FILE,
        **HOST_KEYS,
        **JSON,
        **QUIET,
        "wait": "seconds that tasks have to end; an hour without",
    },
    at_controller="keys.rotate",
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
    patience = seconds(wait) if wait else WAIT
    renew(file, host_keys, Console(quiet=quiet), patience=patience, ask="", as_json=json)


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
        outcome = authorizing.withdraw(specs, user_key.public_key(), strict=strict)
        report(console, specs, outcome, again="--host", as_json=json)
        return
    asked = scenes.asked(file)
    if cluster := scenes.elsewhere(asked):
        given = {"yes": yes, "json": json, "quiet": quiet}
        elsewhere.verb("keys.revoke", given, asked, cluster, settings=False, host_keys=host_keys)
        return
    question = "" if yes else "all clients are shut out and running tasks are lost; go on?"
    renew(file, host_keys, console, patience=None, ask=question, as_json=json)


__all__ = ["authorize", "copy", "generate", "revoke", "rotate", "show"]
