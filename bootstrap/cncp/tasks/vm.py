"""vm.*: virtual machines on this one, as hosts of a cluster."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context

from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.machine import place
from cncp.machine.actor import Actor
from cncp.tasks.asked import JSON, QUIET
from cncp.tasks.cluster import converge
from cncp.tasks.command import command
from cncp.vm import cluster, image
from cncp.vm.cluster import Site, Wanted

HEADER = ["MACHINE", "STATE", "PID", "SSH PORT", "ADDRESS", "CORES", "MEMORY"]


def _home() -> Path:
    return Path(place.account(os.environ).home)


def _site() -> Site:
    named = os.environ.get("CNCP_VM_HOME")
    return Site(Path(named).absolute() if named else _home() / ".local" / "share" / "cncp-vm")


def _number(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise UsageError(f"command line: --{name} {value} is not possible", f"give a number from {low} to {high}")
    return value


@command(
    {
        **QUIET,
        **JSON,
        "count": "how many machines: the first has the controller, the others engines",
        "memory": "of each, in MiB",
        "cores": "of each",
    }
)
def up(
    context: Context, count: int = 1, memory: int = 1024, cores: int = 1, quiet: bool = False, json: bool = False
) -> None:
    """Make and start machines, and make them a cluster: `cncp status` and all else then act on them."""
    console = Console(quiet=quiet)
    wanted = Wanted(
        _number("count", count, 1, 32), _number("memory", memory, 512, 2**20), _number("cores", cores, 1, 256)
    )
    site = _site()
    site.check()
    with site.locked("vm.up"):
        cluster.up(site, wanted, _home(), console.phase)
        converge(console, {}, file=str(site.file), as_json=json)


@command(JSON)
def status(context: Context, json: bool = False) -> None:
    """Show the machines; `cncp status` shows what runs on them."""
    console, site = Console(), _site()
    rows = []
    for one in site.machines():
        pid = site.of(one.name).pid
        state = "running" if pid else "off"
        rows.append([one.name, state, pid, one.ssh_port, one.address, one.cores, one.memory])
    if json:
        keys = [name.lower().replace(" ", "_") for name in HEADER]
        console.data([dict(zip(keys, row, strict=True)) for row in rows])
    elif rows:
        console.table(HEADER, [[str(cell or "") for cell in row[:-1]] + [f"{row[-1]} MiB"] for row in rows])
    else:
        console.say("there are no machines")


@command({"name": "a machine, as vm.status shows it; the first without"})
def ssh(context: Context, name: str = "") -> None:
    """Log in to a machine."""
    machines = {one.name: one for one in _site().machines()}
    if not machines:
        raise CncpError("there are no machines", "make some: invoke vm.up")
    if name and name not in machines:
        raise UsageError(f"there is no machine {name}", "there are: " + ", ".join(machines))
    words = cluster.login(machines[name or next(iter(machines))])
    os.execvp(words[0], words)


@command(QUIET)
def down(context: Context, quiet: bool = False) -> None:
    """Shut the machines down; `vm.up` starts them again, and the cluster with them."""
    console, site = Console(quiet=quiet), _site()
    with site.locked("vm.down"):
        console.phase("shutting down")
        stopped = cluster.down(site)
    console.say(f"shut down: {', '.join(stopped)}" if stopped else "nothing was running")


@command(QUIET)
def destroy(context: Context, quiet: bool = False) -> None:
    """Take the machines away with all that is on them; the image stays."""
    console, site = Console(quiet=quiet), _site()
    with site.locked("vm.destroy"):
        gone = cluster.destroy(site, _home(), place.account(os.environ), place.home(os.environ))
    console.say(f"gone: {', '.join(gone)}" if gone else "there are no machines")


@command(
    {
        **QUIET,
        "output": "the qcow2 to write; where vm.up looks for it without",
        "suite": "of Debian",
        "mirror": "address of a Debian mirror",
        "force": "replace an image that machines are made of already",
    }
)
def box(
    context: Context,
    output: str = "",
    suite: str = "bookworm",
    mirror: str = "",
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Make the base image from Debian's packages, as root."""
    console, site = Console(quiet=quiet), _site()
    path = Path(output).absolute() if output else site.image
    if path.exists() and not force:
        raise UsageError(f"{path} exists", "machines may stand on it; replace it all the same with --force")
    image.check()
    account = place.account(os.environ)
    with Actor(account).as_login():
        # What root makes here for a user, the user is to go on with.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    image.build(path, suite, mirror, console.phase)
    os.chown(path, account.uid, account.gid)
    console.say(f"{path}: {path.stat().st_size // 2**20} MB · next: invoke vm.up --count 2")


__all__ = ["box", "destroy", "down", "ssh", "status", "up"]
