"""vm.*: virtual machines on this one, as hosts of a cluster."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.console import Console
from cncp.errors import UsageError
from cncp.files import insist_on_file
from cncp.install import privileges
from cncp.pools.vm import box as boxes
from cncp.pools.vm import image as images
from cncp.pools.vm import package as packages
from cncp.pools.vm import seed
from cncp.pools.vm.machines import (
    HYPERVISORS,
    LEAST_MEMORY,
    MOST,
    MOST_CORES,
    MOST_MEMORY,
    account_home,
    own_site,
    provider_of,
    qemu,
)
from cncp.pools.vm.site import Provider, Site, Wanted, login
from cncp.process import become
from cncp.tasks.main_job import converge
from cncp.tasks.options import JSON, QUIET
from cncp.tasks.task import command

HEADER = ["MACHINE", "STATE", "PID", "SSH PORT", "ADDRESS", "CORES", "MEMORY"]


def names() -> list[str]:
    """Return the names of the machines. Raises CncpError."""
    return list(own_site().hosts())


def _provider(site: Site, named: str = "") -> Provider:
    if named not in ("", *HYPERVISORS):
        raise UsageError(
            f"command line: --provider {named!r} is not possible",
            f"give {', '.join(HYPERVISORS[:-1])} or {HYPERVISORS[-1]}",
        )
    return provider_of(site, named)


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
        "image": "what new machines are made of: a qcow2, for Vagrant the name of a box; that of vm.box without",
        "provider": "qemu, or by way of Vagrant libvirt or virtualbox",
    }
)
def up(
    context: Context,
    count: int = 1,
    memory: int = 1024,
    cores: int = 1,
    image: str = "",
    provider: str = "",
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Make and start machines, and make them a cluster: `cncp status` and all else then act on them."""
    console = Console(quiet=quiet)
    wanted = Wanted(
        _number("count", count, 1, MOST),
        _number("memory", memory, LEAST_MEMORY, MOST_MEMORY),
        _number("cores", cores, 1, MOST_CORES),
        image,
    )
    site = own_site()
    machines = _provider(site, provider)
    machines.check(wanted)
    authorized = seed.keys(account_home())
    with site.locked("vm.up"):
        site.write(machines.up(wanted, authorized, console.phase))
        converge(console, {}, file=str(site.file), as_json=json)


@command(JSON)
def status(context: Context, json: bool = False) -> None:
    """Show the machines; `cncp status` shows what runs on them."""
    console, site = Console(), own_site()
    machines = _provider(site).machines()
    if json:
        console.data(machines)
    elif machines:
        keys = [name.lower().replace(" ", "_") for name in HEADER[:-1]]
        rows = [[*(str(getattr(row, key) or "") for key in keys), f"{row.memory} MiB"] for row in machines]
        console.table(HEADER, rows)
    else:
        console.say("there are no machines")


@command({"name": "a machine, as vm.status shows it; the first without"})
def ssh(context: Context, name: str = "") -> None:
    """Log in to a machine."""
    words = login(own_site().named(name))
    become(words)


@command(QUIET)
def down(context: Context, quiet: bool = False) -> None:
    """Shut the machines down; `vm.up` starts them again, and the cluster with them."""
    console, site = Console(quiet=quiet), own_site()
    with site.locked("vm.down"):
        console.phase("shutting down")
        stopped = _provider(site).down()
    console.say(f"shut down: {', '.join(stopped)}" if stopped else "nothing was running")


@command(QUIET)
def destroy(context: Context, quiet: bool = False) -> None:
    """Take the machines away with all that is on them; the image stays."""
    console, site = Console(quiet=quiet), own_site()
    with site.locked("vm.destroy"):
        names = list(site.hosts())
        _provider(site).destroy()
        site.forget(account_home(), accounts.account(os.environ), accounts.home(os.environ))
    console.say(f"gone: {', '.join(names)}" if names else "there are no machines")


@command(
    {
        **QUIET,
        "output": "the qcow2 to write, or a .box for Vagrant; where vm.up looks for it without",
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
    console, site = Console(quiet=quiet), own_site()
    path = Path(output).absolute() if output else qemu(site).image
    insist_on_file(path)
    if path.exists() and not force:
        raise UsageError(f"{path} exists", "machines may stand on it; replace it all the same with --force")
    images.check()
    # What root makes here for a user, the user is to go on with.
    account = accounts.named(os.environ)
    privileges.with_rights_of(account, lambda: path.parent.mkdir(mode=0o700, parents=True, exist_ok=True))
    if path.suffix == ".box":
        boxes.build(path, suite, mirror, console.phase)
        then = f"vagrant box add --name cncp-base {path}"
    else:
        images.build(path, suite, mirror, console.phase)
        then = "cncp vm.up --count 2"
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    console.say(f"{path}: {path.stat().st_size // 2**20} MB · next: {then}")


@command(
    {
        **QUIET,
        "name": "a machine, as vm.status shows it; the first without",
        "output": "folder for the image, the box and their checksums",
        "force": "replace what is there",
    }
)
def package(context: Context, name: str = "", output: str = ".", force: bool = False, quiet: bool = False) -> None:
    """Make an image and a box of a machine: without keys, names or history, for others to start their own from."""
    console, site, folder = Console(quiet=quiet), own_site(), Path(output).absolute()
    present = [path for path in packages.files(folder) if path.exists()]
    for path in present:
        insist_on_file(path)
    machines = qemu(site)
    source = packages.source(machines, name)
    if present and not force:
        raise UsageError(f"{present[0]} exists", "name another --output, or replace it with --force")
    with site.locked("vm.package"):
        packages.package(machines, source, folder, account_home(), accounts.home(os.environ), console)
    for path in packages.files(folder):
        console.say(f"{path}: {path.stat().st_size / 2**20:.1f} MB")
    console.say(f"next: cncp vm.up --image {folder / packages.IMAGE}")


__all__ = ["box", "destroy", "down", "package", "ssh", "status", "up"]
