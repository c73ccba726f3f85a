"""A lab to work in by hand: it stays up when the command that made it has ended."""

from __future__ import annotations

import shlex

from . import state
from .nspawn import Lab


def kept() -> Lab | None:
    """Find the lab that an earlier :func:`up` left; None when there is none."""
    Lab.sweep()
    found = next((record for record in state.records() if record.owner is None), None)
    return Lab.find(found) if found else None


def up(count: int = 1, suite: str = "bookworm") -> None:
    """See to it that hosts n1 to n``count`` are up, and print how to log in to them.

    Hosts that are there already stay as they are, whatever their suite.
    """
    lab = kept() or Lab(keep=True).start()
    for name in (f"n{number}" for number in range(1, count + 1)):
        if name not in lab.hosts:
            lab.host(name, suite)
    lab.boot()
    _show(lab)


def down() -> None:
    """End the lab that :func:`up` left, if there is one."""
    lab = kept()
    if lab is None:
        print("no lab is up")
        return
    names = ", ".join(lab.hosts)
    lab.close()
    print(f"ended: {names}")


def status() -> None:
    """Print the hosts of the lab that :func:`up` left."""
    lab = kept()
    if lab is None:
        print("no lab is up")
    else:
        _show(lab)


def _show(lab: Lab) -> None:
    print(f"this machine is {lab.address} for the hosts")
    for host in lab.hosts.values():
        power = "up" if host.running else "off"
        command = shlex.join(host.ssh_command(next(iter(host.users), "root")))
        print(f"{host.name}  {host.address}  {host.suite}  {power}  {command}")
