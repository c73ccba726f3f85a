"""A lab to work in by hand: it stays up when the command that made it has ended."""

from __future__ import annotations

import shlex
import signal
import threading

from ..cloud import moto_ec2
from . import state
from .cloud import Region
from .nspawn import Lab

REGION = "eu-west-1"


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


def cloud() -> None:
    """Be a region of EC2, until interrupted: moto answers, and what it says runs is a host with real cloud-init.

    What such a cloud forgets: who may do what, prices, limits, and its own networks.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Lab() as lab, moto_ec2.serving(lab.address) as endpoint, Region(lab, endpoint, REGION) as region:
        print(
            f"""EC2 is at {endpoint} until this is interrupted. In ~/.aws/config, of whoever has the controller here:

[default]
region = {REGION}
endpoint_url = {endpoint}
aws_access_key_id = t
aws_secret_access_key = t

In cluster.toml:

listen = "all"
external = "{lab.address}"

[[pool]]
provider = "ec2"
instances = 2
image = "{region.image()}"
flavor = "t3.micro"
engines = 1
""",
            flush=True,
        )
        ended.wait()
        for error in region.errors:
            print(f"{type(error).__name__}: {error}")


def _show(lab: Lab) -> None:
    print(f"this machine is {lab.address} for the hosts")
    for host in lab.hosts.values():
        power = "up" if host.running else "off"
        command = shlex.join(host.ssh_command(next(iter(host.users), "root")))
        print(f"{host.name}  {host.address}  {host.suite}  {power}  {command}")
